-- The read model: what order-states says, for search, ageing and timelines. Plain SQL that SQLite and PostgreSQL both take.
CREATE TABLE orders (
    merchant_id TEXT NOT NULL,
    merchant_trade_no TEXT NOT NULL,
    shard BIGINT NOT NULL,
    position BIGINT NOT NULL,
    phase TEXT NOT NULL,
    institution TEXT NOT NULL,
    trade_no TEXT NOT NULL,
    trade_amount BIGINT NOT NULL,
    accepted_at_ms BIGINT NOT NULL,
    is_final BIGINT NOT NULL,
    is_contradicted BIGINT NOT NULL,
    state BYTEA NOT NULL,
    PRIMARY KEY (merchant_id, merchant_trade_no)
);
CREATE INDEX orders_accepted ON orders (accepted_at_ms, merchant_id, merchant_trade_no);
CREATE INDEX orders_in_progress ON orders (shard, accepted_at_ms) WHERE is_final = 0;
CREATE INDEX orders_contradicted ON orders (accepted_at_ms) WHERE is_contradicted = 1;

CREATE TABLE timeline (
    merchant_id TEXT NOT NULL,
    merchant_trade_no TEXT NOT NULL,
    position BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    phase TEXT NOT NULL,
    status_code TEXT NOT NULL,
    PRIMARY KEY (merchant_id, merchant_trade_no, position)
);

-- How far order-states is applied; written with the rows that it covers.
CREATE TABLE positions (
    shard BIGINT NOT NULL PRIMARY KEY,
    next BIGINT NOT NULL
);
