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
};

const char *l3_sqlite_schema_step(unsigned version)
{
    size_t count = sizeof schema_steps / sizeof schema_steps[0];
    return version >= 1 && version <= count ? schema_steps[version - 1] : NULL;
}
