/* mailbox: messages to a thread that sits in a libevent loop. A list under a lock and an eventfd;
 * many posts before the thread comes to look cost one wake-up. The eventfd is watched for edges:
 * every write is one, so nobody reads it. */
#include "net/net_int.h"

#include <sys/eventfd.h>

int mailbox_open(struct mailbox *mailbox)
{
    lock_init(&mailbox->lock, LOCK_MAILBOX);
    mailbox->tail = &mailbox->first;
    mailbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return mailbox->wake_fd < 0 ? CE_NOMEM : 0;
}

void mailbox_close(struct mailbox *mailbox)
{
    if (!mailbox->tail) /* was never opened */
        return;
    if (mailbox->wake_fd >= 0)
        close(mailbox->wake_fd);
    lock_fini(&mailbox->lock);
}

void mailbox_wake(struct mailbox *mailbox)
{
    if (atomic_exchange(&mailbox->woken, true))
        return;
    uint64_t one = 1;
    ssize_t done = write(mailbox->wake_fd, &one, sizeof one);
    MUST(done == (ssize_t)sizeof one || errno == EAGAIN);
}

void mailbox_post(struct mailbox *mailbox, struct net_task *task)
{
    task->_next = NULL;
    lock_take(&mailbox->lock);
    *mailbox->tail = task;
    mailbox->tail = &task->_next;
    lock_drop(&mailbox->lock);
    mailbox_wake(mailbox);
}

static struct net_task *take_all(struct mailbox *mailbox)
{
    lock_take(&mailbox->lock);
    struct net_task *tasks = mailbox->first;
    mailbox->first = NULL;
    mailbox->tail = &mailbox->first;
    lock_drop(&mailbox->lock);
    return tasks;
}

void mailbox_run(struct mailbox *mailbox)
{
    atomic_store(&mailbox->woken, false);
    for (struct net_task *task = take_all(mailbox), *next; task; task = next) {
        next = task->_next; /* run() may free the task */
        task->run(task);
    }
}
