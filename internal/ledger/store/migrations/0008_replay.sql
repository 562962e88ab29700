-- Deliveries that repeat another one, because a system that was restored from a
-- backup lost what that one had made.

-- replay: the delivery that it repeats, 0 for none.
ALTER TABLE delivery ADD COLUMN replay BIGINT NOT NULL DEFAULT 0;
-- lost: the system that lost it; then records whose calls are made again, one a line.
ALTER TABLE delivery ADD COLUMN lost TEXT NOT NULL DEFAULT '';
