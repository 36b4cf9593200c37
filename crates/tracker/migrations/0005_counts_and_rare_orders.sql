-- How often the state of an order was replaced: a stored row that was never replaced is a new order.
ALTER TABLE orders ADD COLUMN replaced BIGINT NOT NULL DEFAULT 0;

-- How many orders each shard has; written with the rows that it counts.
CREATE TABLE counts (
    shard BIGINT NOT NULL PRIMARY KEY,
    orders BIGINT NOT NULL
);
INSERT INTO counts (shard, orders) SELECT shard, COUNT(*) FROM orders GROUP BY shard;

-- The few orders that operators list, in the order in which they are listed.
DROP INDEX orders_contradicted;
CREATE INDEX orders_contradicted ON orders (accepted_at_ms, merchant_id, merchant_trade_no) WHERE is_contradicted = 1;
CREATE INDEX orders_unfinished ON orders (accepted_at_ms, merchant_id, merchant_trade_no) WHERE is_final = 0;
