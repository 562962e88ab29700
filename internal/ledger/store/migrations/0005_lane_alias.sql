-- A person's deliveries are those of all the lanes that lead to hers.
CREATE INDEX lane_alias ON lane (alias) WHERE alias <> 0;
