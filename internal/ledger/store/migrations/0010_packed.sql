-- Sealed values may be compressed first (internal/seal): a program that does not
-- know this must not open the ledger.
UPDATE clock SET codec = 2 WHERE codec < 2;
