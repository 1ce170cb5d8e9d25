-- The tables of cartd in MariaDB and MySQL, schema version 4, as cartd makes them itself.
-- They are explained in doc/sql.md.
--
--   mariadb shop < mysql.sql

-- The user that cartd is, and one that may read. No rights to change tables: start cartd with
-- --l3-migrate=off.
--
--   CREATE USER cartd@'%' IDENTIFIED BY '...';
--   GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cart TO cartd@'%';
--   GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cart_line TO cartd@'%';
--   GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cart_event TO cartd@'%';
--   GRANT SELECT, UPDATE, DELETE ON shop.cart_inbox TO cartd@'%';
--   GRANT SELECT ON shop.schema_version TO cartd@'%';
--   CREATE USER analyst@'%' IDENTIFIED BY '...';
--   GRANT SELECT ON shop.* TO analyst@'%';
--   CREATE USER support@'%' IDENTIFIED BY '...';
--   GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cart_inbox TO support@'%';
--   GRANT SELECT ON shop.cart TO support@'%';
--   GRANT SELECT ON shop.cart_line TO support@'%';

CREATE TABLE IF NOT EXISTS cart (
    cart_id VARCHAR(502) NOT NULL PRIMARY KEY,
    state SMALLINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    version BIGINT NOT NULL,
    cas VARCHAR(20) NOT NULL,
    lines_count INT NOT NULL,
    qty BIGINT NOT NULL,
    amount BIGINT,
    checked_qty BIGINT NOT NULL,
    checked_amount BIGINT,
    updated_at DATETIME(3) NOT NULL,
    expires_at DATETIME(3),
    rev BIGINT NOT NULL,
    image LONGBLOB NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC;

CREATE TABLE IF NOT EXISTS cart_line (
    cart_id VARCHAR(502) NOT NULL,
    line VARCHAR(258) NOT NULL,
    sku VARCHAR(258) NOT NULL,
    qty BIGINT NOT NULL,
    checked SMALLINT NOT NULL,
    add_price BIGINT,
    shop TEXT NOT NULL,
    ext LONGBLOB NOT NULL,
    added_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    PRIMARY KEY (cart_id, line),
    INDEX cart_line_sku (sku)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC;

CREATE TABLE IF NOT EXISTS cart_event (
    id CHAR(36) NOT NULL PRIMARY KEY,
    aggregatetype VARCHAR(255) NOT NULL,
    aggregateid VARCHAR(502) NOT NULL,
    type VARCHAR(255) NOT NULL,
    payload LONGTEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(3) NOT NULL,
    INDEX cart_event_aggregateid (aggregateid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC;

CREATE OR REPLACE VIEW cart_events AS
SELECT id AS event_id,
       aggregateid AS cart_id,
       type,
       version,
       created_at,
       JSON_UNQUOTE(JSON_EXTRACT(payload, '$.currency')) AS currency,
       CAST(JSON_EXTRACT(payload, '$.count') AS SIGNED) AS lines_count,
       CAST(JSON_EXTRACT(payload, '$.qty') AS SIGNED) AS qty,
       CAST(JSON_EXTRACT(payload, '$.amount') AS SIGNED) AS amount,
       JSON_EXTRACT(payload, '$.lines') AS `lines`
  FROM cart_event;

CREATE OR REPLACE VIEW cart_report AS
SELECT c.cart_id,
       c.currency,
       DATE(c.updated_at) AS day,
       c.updated_at,
       TIMESTAMPDIFF(HOUR, c.updated_at, UTC_TIMESTAMP()) AS idle_hours,
       l.line,
       l.sku,
       l.shop,
       l.qty,
       l.checked,
       l.add_price AS price,
       l.qty * l.add_price AS value
  FROM cart c
  JOIN cart_line l ON l.cart_id = c.cart_id
 WHERE c.state = 0;

CREATE TABLE IF NOT EXISTS cart_inbox (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    cart_id VARCHAR(502) NOT NULL,
    command TEXT NOT NULL,
    token VARCHAR(32),
    status VARCHAR(8) NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'taken', 'failed')),
    reason VARCHAR(255),
    created_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    taken_at DATETIME(3),
    INDEX cart_inbox_status (status, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC;

CREATE TABLE IF NOT EXISTS schema_version (
    version INT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC;
INSERT INTO schema_version VALUES (4);
