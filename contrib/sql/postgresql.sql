-- The tables of cartd in PostgreSQL, schema version 3, as cartd makes them itself.
-- They are explained in doc/sql.md.
--
--   psql -1 -v ON_ERROR_STOP=1 -d shop -f postgresql.sql

-- The user that cartd is, and one that may read. No rights to change tables: start cartd with
-- --l3-migrate=off.
--
--   CREATE ROLE cartd LOGIN PASSWORD '...';
--   GRANT SELECT, INSERT, UPDATE, DELETE ON cart, cart_line, cart_event TO cartd;
--   GRANT SELECT ON schema_version TO cartd;
--   CREATE ROLE analyst LOGIN PASSWORD '...';
--   GRANT SELECT ON cart, cart_line, cart_event, cart_events, cart_report TO analyst;

CREATE TABLE cart (
    cart_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state SMALLINT NOT NULL,
    currency TEXT NOT NULL,
    version BIGINT NOT NULL,
    cas TEXT NOT NULL,
    lines_count INT NOT NULL,
    qty BIGINT NOT NULL,
    amount BIGINT,
    checked_qty BIGINT NOT NULL,
    checked_amount BIGINT,
    updated_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    rev BIGINT NOT NULL,
    image BYTEA NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE cart_line (
    cart_id TEXT COLLATE "C" NOT NULL,
    line TEXT COLLATE "C" NOT NULL,
    sku TEXT COLLATE "C" NOT NULL,
    qty BIGINT NOT NULL,
    checked SMALLINT NOT NULL,
    add_price BIGINT,
    shop TEXT NOT NULL,
    ext BYTEA NOT NULL,
    added_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (cart_id, line)
) WITH (fillfactor = 80);

CREATE INDEX cart_line_sku ON cart_line (sku);

CREATE TABLE cart_event (
    id UUID NOT NULL PRIMARY KEY,
    aggregatetype TEXT NOT NULL,
    aggregateid TEXT COLLATE "C" NOT NULL,
    type TEXT NOT NULL,
    payload JSON NOT NULL,
    version BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX cart_event_aggregateid ON cart_event (aggregateid);

CREATE VIEW cart_events AS
SELECT id AS event_id,
       aggregateid AS cart_id,
       type,
       version,
       created_at,
       payload->>'currency' AS currency,
       (payload->>'count')::INT AS lines_count,
       (payload->>'qty')::BIGINT AS qty,
       (payload->>'amount')::BIGINT AS amount,
       payload->'lines' AS lines
  FROM cart_event;

CREATE VIEW cart_report AS
SELECT c.cart_id,
       c.currency,
       (c.updated_at AT TIME ZONE 'UTC')::DATE AS day,
       c.updated_at,
       floor(extract(EPOCH FROM now() - c.updated_at) / 3600)::BIGINT AS idle_hours,
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

CREATE TABLE schema_version (
    version INT NOT NULL
);
INSERT INTO schema_version VALUES (3);
