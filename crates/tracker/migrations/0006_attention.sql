-- The orders that need a person, in the order in which they are listed.
ALTER TABLE orders ADD COLUMN needs_attention BIGINT NOT NULL DEFAULT 0;
CREATE INDEX orders_attention ON orders (accepted_at_ms, merchant_id, merchant_trade_no) WHERE needs_attention = 1;

-- Charges that took effect after they had been reported as failed, and whose reversal was given up.
UPDATE orders SET needs_attention = 1, is_final = 0
WHERE is_contradicted = 1 AND phase = 'failed' AND is_final = 1 AND cancelled_at_ms IS NULL;
