/* The tables of L3 in SQLite, as steps from one schema version to the next. The columns are
 * explained in doc/sql.md. */
#include "tier/l3/l3_int.h"

static const char *const schema_steps[] = {
    /* 1 */
    "CREATE TABLE cart ("
    " cart_id TEXT NOT NULL PRIMARY KEY,"
    " state SMALLINT NOT NULL,"
    " currency TEXT NOT NULL,"
    " version BIGINT NOT NULL,"
    " cas TEXT NOT NULL," /* u64: no SQL integer holds it */
    " lines_count INT NOT NULL,"
    " qty INT NOT NULL,"
    " amount BIGINT,"
    " checked_qty INT NOT NULL,"
    " checked_amount BIGINT,"
    " updated_at TEXT NOT NULL,"
    " expires_at TEXT,"
    " rev BIGINT NOT NULL,"
    " image BLOB NOT NULL);"
    "CREATE TABLE cart_line ("
    " cart_id TEXT NOT NULL,"
    " line TEXT NOT NULL,"
    " sku TEXT NOT NULL,"
    " qty INT NOT NULL,"
    " checked SMALLINT NOT NULL,"
    " add_price BIGINT,"
    " shop TEXT NOT NULL,"
    " ext BLOB NOT NULL,"
    " added_at TEXT NOT NULL,"
    " updated_at TEXT NOT NULL,"
    " PRIMARY KEY (cart_id, line)) WITHOUT ROWID;"
    "CREATE INDEX cart_line_sku ON cart_line (sku);"
    "CREATE TABLE schema_version (version INT NOT NULL);"
    "INSERT INTO schema_version VALUES (1);",
    /* 2: the outbox */
    "CREATE TABLE cart_event ("
    " id TEXT NOT NULL PRIMARY KEY,"
    " aggregatetype TEXT NOT NULL,"
    " aggregateid TEXT NOT NULL,"
    " type TEXT NOT NULL,"
    " payload TEXT NOT NULL,"
    " version BIGINT NOT NULL,"
    " created_at TEXT NOT NULL);"
    "CREATE INDEX cart_event_aggregateid ON cart_event (aggregateid);"
    "CREATE VIEW cart_events AS SELECT"
    " id AS event_id, aggregateid AS cart_id, type, version, created_at,"
    " json_extract(payload, '$.currency') AS currency,"
    " json_extract(payload, '$.count') AS lines_count,"
    " json_extract(payload, '$.qty') AS qty,"
    " json_extract(payload, '$.amount') AS amount,"
    " json_extract(payload, '$.lines') AS lines"
    " FROM cart_event;"
    "UPDATE schema_version SET version = 2;",
    /* 3: the view for analysts */
    "CREATE VIEW cart_report AS SELECT"
    " c.cart_id, c.currency, date(c.updated_at) AS day, c.updated_at,"
    " CAST((julianday('now') - julianday(c.updated_at)) * 24 AS INTEGER) AS idle_hours,"
    " l.line, l.sku, l.shop, l.qty, l.checked, l.add_price AS price,"
    " l.qty * l.add_price AS value"
    " FROM cart c JOIN cart_line l ON l.cart_id = c.cart_id WHERE c.state = 0;"
    "UPDATE schema_version SET version = 3;",
    /* 4: the inbox. An id is never used twice: what was done is known by it for a while */
    "CREATE TABLE cart_inbox ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " cart_id TEXT NOT NULL,"
    " command TEXT NOT NULL,"
    " token TEXT,"
    " status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'taken', 'failed')),"
    " reason TEXT,"
    " created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),"
    " taken_at TEXT);"
    "CREATE INDEX cart_inbox_status ON cart_inbox (status, id);"
    "UPDATE schema_version SET version = 4;",
};

const char *l3_sqlite_schema_step(unsigned version)
{
    size_t count = sizeof schema_steps / sizeof schema_steps[0];
    return version >= 1 && version <= count ? schema_steps[version - 1] : NULL;
}
