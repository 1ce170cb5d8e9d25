/* journal_convoy: clients that were answered by one sync mostly ask again at once. A sync that
 * began with those alone who wait already would leave them out: two halves would take turns, each
 * waiting for the other's sync and then for its own. So after a sync the thread waits, a moment at
 * most, until as many records have come as that sync answered and as came meanwhile. When they do
 * not come, because clients think between their requests, it waits ever more rarely. */
#include "tier/journal/journal_int.h"

#define MISSES_MAX 6 /* then it waits after one sync in 64 */

bool convoy_is_awaited(const struct convoy *convoy, uint64_t records)
{
    return records - convoy->before < convoy->expected;
}

void convoy_leave(struct convoy *convoy, uint64_t records)
{
    if (convoy->expected > 0 && !convoy_is_awaited(convoy, records))
        convoy->misses = 0;
    convoy->round = records - convoy->before;
    convoy->before = records;
    convoy->expected = 0;
}

void convoy_expect(struct convoy *convoy, uint64_t records)
{
    if (convoy->skip > 0)
        convoy->skip--;
    else
        convoy->expected = convoy->round + (records - convoy->before);
}

void convoy_end(struct convoy *convoy, bool hurry)
{
    convoy->expected = 0;
    if (hurry)
        return;
    convoy->misses += convoy->misses < MISSES_MAX;
    convoy->skip = 1u << convoy->misses;
}
