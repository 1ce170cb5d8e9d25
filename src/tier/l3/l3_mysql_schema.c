/* The tables of L3 in MariaDB and MySQL, as steps from one schema version to the next: in meaning
 * those of l3_sqlite_schema.c. The columns are explained in doc/sql.md. These servers commit every
 * CREATE by itself, so a step can be repeated, and writes its version last. Keys compare as bytes;
 * 502 and 258 characters hold the longest ones in hex digits. */
#include "tier/l3/l3_int.h"

#define TABLE_KIND " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC"

static const char *const step_1[] = {
    "CREATE TABLE IF NOT EXISTS cart ("
    " cart_id VARCHAR(502) NOT NULL PRIMARY KEY,"
    " state SMALLINT NOT NULL,"
    " currency VARCHAR(3) NOT NULL,"
    " version BIGINT NOT NULL,"
    " cas VARCHAR(20) NOT NULL,"
    " lines_count INT NOT NULL,"
    " qty BIGINT NOT NULL,"
    " amount BIGINT,"
    " checked_qty BIGINT NOT NULL,"
    " checked_amount BIGINT,"
    " updated_at DATETIME(3) NOT NULL,"
    " expires_at DATETIME(3),"
    " rev BIGINT NOT NULL,"
    " image LONGBLOB NOT NULL)" TABLE_KIND,
    "CREATE TABLE IF NOT EXISTS cart_line ("
    " cart_id VARCHAR(502) NOT NULL,"
    " line VARCHAR(258) NOT NULL,"
    " sku VARCHAR(258) NOT NULL,"
    " qty BIGINT NOT NULL,"
    " checked SMALLINT NOT NULL,"
    " add_price BIGINT,"
    " shop TEXT NOT NULL,"
    " ext LONGBLOB NOT NULL,"
    " added_at DATETIME(3) NOT NULL,"
    " updated_at DATETIME(3) NOT NULL,"
    " PRIMARY KEY (cart_id, line),"
    " INDEX cart_line_sku (sku))" TABLE_KIND,
    "CREATE TABLE IF NOT EXISTS schema_version (version INT NOT NULL)" TABLE_KIND,
    "INSERT INTO schema_version VALUES (1)",
    NULL,
};

/* The outbox. LONGTEXT, not JSON: the document stays as clients saw it, byte for byte. */
static const char *const step_2[] = {
    "CREATE TABLE IF NOT EXISTS cart_event ("
    " id CHAR(36) NOT NULL PRIMARY KEY,"
    " aggregatetype VARCHAR(255) NOT NULL,"
    " aggregateid VARCHAR(502) NOT NULL,"
    " type VARCHAR(255) NOT NULL,"
    " payload LONGTEXT NOT NULL,"
    " version BIGINT NOT NULL,"
    " created_at DATETIME(3) NOT NULL,"
    " INDEX cart_event_aggregateid (aggregateid))" TABLE_KIND,
    "CREATE OR REPLACE VIEW cart_events AS SELECT"
    " id AS event_id, aggregateid AS cart_id, type, version, created_at,"
    " JSON_UNQUOTE(JSON_EXTRACT(payload, '$.currency')) AS currency,"
    " CAST(JSON_EXTRACT(payload, '$.count') AS SIGNED) AS lines_count,"
    " CAST(JSON_EXTRACT(payload, '$.qty') AS SIGNED) AS qty,"
    " CAST(JSON_EXTRACT(payload, '$.amount') AS SIGNED) AS amount,"
    " JSON_EXTRACT(payload, '$.lines') AS `lines`"
    " FROM cart_event",
    "UPDATE schema_version SET version = 2",
    NULL,
};

/* The view for analysts. */
static const char *const step_3[] = {
    "CREATE OR REPLACE VIEW cart_report AS SELECT"
    " c.cart_id, c.currency, DATE(c.updated_at) AS day, c.updated_at,"
    " TIMESTAMPDIFF(HOUR, c.updated_at, UTC_TIMESTAMP()) AS idle_hours,"
    " l.line, l.sku, l.shop, l.qty, l.checked, l.add_price AS price,"
    " l.qty * l.add_price AS value"
    " FROM cart c JOIN cart_line l ON l.cart_id = c.cart_id WHERE c.state = 0",
    "UPDATE schema_version SET version = 3",
    NULL,
};

/* The inbox. */
static const char *const step_4[] = {
    "CREATE TABLE IF NOT EXISTS cart_inbox ("
    " id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " cart_id VARCHAR(502) NOT NULL,"
    " command TEXT NOT NULL,"
    " token VARCHAR(32),"
    " status VARCHAR(8) NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'taken', 'failed')),"
    " reason VARCHAR(255),"
    " created_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),"
    " taken_at DATETIME(3),"
    " INDEX cart_inbox_status (status, id))" TABLE_KIND,
    "UPDATE schema_version SET version = 4",
    NULL,
};

const char *const *l3_mysql_schema_step(unsigned version)
{
    static const char *const *const steps[] = {step_1, step_2, step_3, step_4};
    size_t count = sizeof steps / sizeof steps[0];
    return version >= 1 && version <= count ? steps[version - 1] : NULL;
}
