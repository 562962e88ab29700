-- The ledger. Times are microseconds since 1970 in UTC, 0 for none. Columns
-- named sealed, head, body, name hold AES-GCM (internal/seal); columns named
-- mac, doc, ident, person, target, maker, record hold HMACs.

-- One row: ledger time of the last commit, and the last numbers given out.
CREATE TABLE clock (
  id {{ID}},
  at BIGINT NOT NULL,
  message BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  delivery BIGINT NOT NULL,
  lane BIGINT NOT NULL,
  question BIGINT NOT NULL,
  audit BIGINT NOT NULL,
  incarnation BIGINT NOT NULL,
  codec BIGINT NOT NULL
);
INSERT INTO clock VALUES (1, 0, 0, 0, 0, 0, 0, 0, 1, 1);

CREATE TABLE node (
  id {{ID}},
  host TEXT NOT NULL,
  pid BIGINT NOT NULL,
  started BIGINT NOT NULL,
  heartbeat BIGINT NOT NULL,
  stopped BIGINT NOT NULL
);

CREATE TABLE message (
  id {{ID}},
  seq BIGINT NOT NULL,
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  received BIGINT NOT NULL,
  withdrawn BIGINT NOT NULL,
  salt BLOB,             -- of the message's own key; NULL: wiped
  head BLOB,             -- document, version, event time
  body BLOB              -- content
);

-- Which documents and versions were accepted; outlives the messages.
CREATE TABLE version (
  doc BLOB NOT NULL,
  mac BLOB NOT NULL,
  message BIGINT NOT NULL,
  PRIMARY KEY (doc, mac)
) {{CLUSTERED}};

CREATE TABLE delivery (
  id {{ID}},
  message BIGINT NOT NULL,
  flow TEXT NOT NULL,
  mac BLOB NOT NULL,     -- of the each-key
  sealed BLOB,           -- the each-key
  maker BLOB NOT NULL,   -- document, flow and each-key: owns rows of made
  lane BIGINT NOT NULL,  -- its first lane, after aliases
  lanes TEXT NOT NULL,   -- ids of the lanes it came by, before aliases
  seq BIGINT NOT NULL,   -- its place in its lanes
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  code TEXT NOT NULL,
  cause TEXT NOT NULL,
  blocked_on TEXT NOT NULL,
  blocked_by TEXT NOT NULL,
  attempts BIGINT NOT NULL,
  starts BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  flow_hash TEXT NOT NULL,
  plan_no BIGINT NOT NULL,
  planned BIGINT NOT NULL,   -- 1: plan plan_no is in force
  generation BIGINT NOT NULL,
  systems TEXT NOT NULL,     -- one a line
  due BIGINT NOT NULL,
  created BIGINT NOT NULL,
  ended BIGINT NOT NULL,
  asked BIGINT NOT NULL,     -- 1: it has asked questions
  remarks TEXT NOT NULL      -- JSON list, or empty
);
CREATE INDEX delivery_message ON delivery (message);
CREATE INDEX delivery_state ON delivery (state, id) WHERE state IN ('waiting', 'held', 'half undone', 'undoing', 'undone', 'refused');
CREATE INDEX delivery_blocked ON delivery (blocked_on, blocked_by, seq) WHERE blocked_on <> '';

-- Open deliveries in the order of their lanes.
CREATE TABLE delivery_lane (
  lane BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  delivery BIGINT NOT NULL,
  PRIMARY KEY (lane, seq, delivery)
) {{CLUSTERED}};

CREATE TABLE lane (
  id {{ID}},
  mac BLOB NOT NULL,
  name BLOB,                   -- its key, sealed
  due_at BIGINT,               -- NULL: nothing to do, or being done
  gen BIGINT NOT NULL,         -- counts wakes
  owner BIGINT NOT NULL,       -- node, 0 for none
  epoch BIGINT NOT NULL,       -- counts take-overs
  running BIGINT NOT NULL,     -- delivery
  alias BIGINT NOT NULL,       -- merged into this lane
  merging BIGINT NOT NULL,     -- 1: starts nothing until merged
  recovering BIGINT NOT NULL   -- 1: in flight at a crash
);
CREATE UNIQUE INDEX lane_mac ON lane (mac);
CREATE INDEX lane_due ON lane (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX lane_owner ON lane (owner) WHERE owner <> 0;
CREATE INDEX lane_recovering ON lane (id) WHERE recovering <> 0;

CREATE TABLE lane_merge (
  loser BIGINT NOT NULL,
  winner BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (loser, winner)
);

-- id = delivery * 1024 + number.
CREATE TABLE plan (
  id {{ID}},
  hash TEXT NOT NULL,
  flow_hash TEXT NOT NULL,
  at BIGINT NOT NULL,
  body BLOB
);

CREATE TABLE journal (
  plan BIGINT NOT NULL,
  n BIGINT NOT NULL,
  kind TEXT NOT NULL,
  call TEXT NOT NULL,
  intent TEXT NOT NULL,
  at BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  body BLOB,
  PRIMARY KEY (plan, n)
) {{CLUSTERED}};

CREATE TABLE claim (
  record BLOB NOT NULL,
  delivery BIGINT NOT NULL,
  PRIMARY KEY (record)
) {{CLUSTERED}};
CREATE INDEX claim_delivery ON claim (delivery);

CREATE TABLE claim_wait (
  record BLOB NOT NULL,
  seq BIGINT NOT NULL,
  delivery BIGINT NOT NULL,
  PRIMARY KEY (record, seq, delivery)
) {{CLUSTERED}};
CREATE INDEX claim_wait_delivery ON claim_wait (delivery);

CREATE TABLE made (
  maker BLOB NOT NULL,
  name TEXT NOT NULL,          -- the flow's name of the record
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  target BLOB NOT NULL,        -- system, kind and id
  generation BIGINT NOT NULL,
  created BIGINT NOT NULL,
  gone BIGINT NOT NULL,
  sealed BLOB,                 -- id, fields, before
  PRIMARY KEY (maker, name)
) {{CLUSTERED}};

CREATE TABLE link (
  ident BLOB NOT NULL,         -- system, kind and id
  person BLOB NOT NULL,
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  at BIGINT NOT NULL,
  sealed BLOB,                 -- person, id, by, how
  PRIMARY KEY (ident)
) {{CLUSTERED}};
CREATE INDEX link_person ON link (person);

CREATE TABLE snapshot (
  target BLOB NOT NULL,
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  at BIGINT NOT NULL,
  sealed BLOB,                 -- id, fields with time and number of each
  PRIMARY KEY (target)
) {{CLUSTERED}};

CREATE TABLE poll_position (
  system TEXT NOT NULL,
  stream TEXT NOT NULL,
  at BIGINT NOT NULL,
  value BLOB,
  PRIMARY KEY (system, stream)
);

CREATE TABLE question (
  id {{ID}},
  delivery BIGINT NOT NULL,
  kind TEXT NOT NULL,
  cause TEXT NOT NULL,
  state TEXT NOT NULL,
  who TEXT NOT NULL,
  asked BIGINT NOT NULL,
  answered BIGINT NOT NULL,
  sealed BLOB,                 -- text, options
  answer BLOB
);
CREATE INDEX question_state ON question (state, id);
CREATE INDEX question_delivery ON question (delivery);

CREATE TABLE circuit (
  system TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  since BIGINT NOT NULL,
  retry BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  reason TEXT NOT NULL
);

-- What should happen by a time, and what to do if it did not (law 21).
CREATE TABLE expectation (
  id {{ID}},
  mac BLOB NOT NULL,           -- key by which the fulfilling message is matched
  flow TEXT NOT NULL,
  lane BIGINT NOT NULL,
  message BIGINT NOT NULL,     -- that armed it
  due BIGINT NOT NULL,
  met BIGINT NOT NULL,         -- message that met it
  ended BIGINT NOT NULL,
  sealed BLOB
);
CREATE INDEX expectation_key ON expectation (mac) WHERE ended = 0;
CREATE INDEX expectation_due ON expectation (due) WHERE ended = 0;

CREATE TABLE audit (
  id {{ID}},
  at BIGINT NOT NULL,
  who TEXT NOT NULL,
  act TEXT NOT NULL,
  delivery BIGINT NOT NULL,
  note BLOB                    -- sealed
);

-- Ended deliveries, counted when they end.
CREATE TABLE tally (
  flow TEXT NOT NULL,
  state TEXT NOT NULL,
  n BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  first BIGINT NOT NULL,
  last BIGINT NOT NULL,
  PRIMARY KEY (flow, state)
);
