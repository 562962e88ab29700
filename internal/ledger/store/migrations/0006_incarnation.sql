-- restored: ledger time of the last raise of the incarnation for commits that
-- may have been lost, 0 for never (law 24).
ALTER TABLE clock ADD COLUMN restored BIGINT NOT NULL DEFAULT 0;
