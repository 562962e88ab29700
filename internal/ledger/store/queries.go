package store

// The SQL of the ledger: portable between SQLite and PostgreSQL, with ? for
// parameters. Where a statement picks or claims it is conditional on what the
// unit read before, in the same transaction.
const (
	qClock = `UPDATE clock SET at = ?, message = ?, seq = ?, delivery = ?, lane = ?, question = ?, audit = ? WHERE id = 1`
	qTally = `INSERT INTO tally (flow, state, shard, n, calls, first, last) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (flow, state, shard) DO UPDATE SET n = tally.n + excluded.n, calls = tally.calls + excluded.calls, last = excluded.last`

	// intake
	qVersions      = `SELECT mac, message FROM version WHERE doc = ? ORDER BY seq, message`
	qAddVersion    = `INSERT INTO version (doc, mac, message, seq) VALUES (?, ?, ?, ?) ON CONFLICT (doc, mac) DO UPDATE SET message = excluded.message, seq = excluded.seq`
	qAddMessage    = `INSERT INTO message (id, seq, system, kind, received, withdrawn, salt, head, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	qAddDelivery   = `INSERT INTO delivery (id, message, flow, mac, sealed, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks, bulk) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'received', '', '', '', '', '', 0, 0, 0, '', 0, 0, 0, ?, ?, ?, 0, 0, '', ?)`
	qDeliveryIDs   = `SELECT id FROM delivery WHERE message = ? ORDER BY id`
	qPosition      = `SELECT value FROM poll_position WHERE system = ? AND stream = ?`
	qSetPosition   = `INSERT INTO poll_position (system, stream, at, value) VALUES (?, ?, ?, ?) ON CONFLICT (system, stream) DO UPDATE SET at = excluded.at, value = excluded.value`
	qOlderOpen     = `SELECT ` + briefCols + ` FROM delivery d WHERE d.ended = 0 AND d.message IN (SELECT message FROM version WHERE doc = ?) ORDER BY d.id`
	qJournalStates = `SELECT kind, call, intent FROM journal WHERE plan = ? ORDER BY n`

	// lanes
	laneCols     = `id, due_at, owner, epoch, running, alias, merging, recovering, name, mac`
	qLaneByMac   = `SELECT ` + laneCols + ` FROM lane WHERE mac = ?`
	qLane        = `SELECT ` + laneCols + ` FROM lane WHERE id = ?`
	qAddLane     = `INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering) VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0)`
	qWakeLane    = `UPDATE lane SET due_at = ?, gen = gen + 1 WHERE id = ? AND owner = 0 AND (due_at IS NULL OR due_at > ? OR due_at < 0)`
	qTakeLane    = `UPDATE lane SET owner = ?, epoch = epoch + 1, running = ?, due_at = NULL WHERE id = ? AND owner = 0`
	qNextInLane  = `UPDATE lane SET running = ? WHERE id = ?`
	qFreeLane    = `UPDATE lane SET owner = 0, running = 0, recovering = 0, due_at = ? WHERE id = ?`
	qSleepLane   = `UPDATE lane SET due_at = ? WHERE id = ?`
	qFence       = `SELECT merging, recovering FROM lane WHERE id = ? AND epoch = ? AND owner = ? AND running = ?`
	qDue         = `SELECT id FROM lane WHERE due_at >= 0 AND due_at <= ? AND owner = 0 AND merging = 0 AND recovering = 0 ORDER BY due_at, id LIMIT ?`
	qNextDue     = `SELECT MIN(due_at) FROM lane WHERE due_at > ? AND owner = 0 AND merging = 0 AND recovering = 0`
	qRecovering  = `SELECT id, owner FROM lane WHERE recovering <> 0 ORDER BY id LIMIT 64`
	qRecoverBusy = `SELECT id FROM lane WHERE recovering <> 0 AND owner <> 0 AND id <> ? LIMIT 1`
	qClearRecov  = `UPDATE lane SET recovering = 0 WHERE id = ?`

	qEnterLane = `INSERT INTO delivery_lane (lane, seq, delivery) VALUES (?, ?, ?) ON CONFLICT (lane, seq, delivery) DO NOTHING`
	qLeaveLane = `DELETE FROM delivery_lane WHERE lane = ? AND seq = ? AND delivery = ?`
	qQueue     = `SELECT ` + briefCols + ` FROM delivery_lane q JOIN delivery d ON d.id = q.delivery WHERE q.lane = ? ORDER BY q.seq, q.delivery LIMIT ?`

	// one delivery
	briefCols     = `d.id, d.flow, d.mac, d.state, d.seq, d.lane, d.lanes, d.due, d.blocked_on, d.systems, d.starts, d.plan_no, d.planned, d.calls, d.message, d.bulk`
	qBrief        = `SELECT ` + briefCols + ` FROM delivery d WHERE d.id = ?`
	deliveryCols  = `d.id, d.message, d.flow, d.lane, d.seq, d.state, d.reason, d.code, d.cause, d.blocked_on, d.blocked_by, d.attempts, d.starts, d.calls, d.flow_hash, d.plan_no, d.planned, d.generation, d.systems, d.due, d.created, d.ended, d.asked, d.remarks, d.sealed, d.maker, m.system, m.kind, m.salt, m.head, d.replay, d.lost`
	messageCols   = `m.seq, m.received, m.withdrawn, m.body`
	qWork         = `SELECT ` + deliveryCols + `, ` + messageCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id = ?`
	qStartDel     = `UPDATE delivery SET state = ?, starts = starts + 1, attempts = attempts + 1, due = 0 WHERE id = ?`
	qEndDelivery  = `UPDATE delivery SET state = ?, reason = ?, code = ?, cause = ?, remarks = ?, blocked_on = ?, blocked_by = ?, due = ?, ended = ?, starts = 0, calls = calls + ?, planned = ?, generation = ?, asked = ? WHERE id = ?`
	qSetState     = `UPDATE delivery SET state = ?, reason = ?, code = ?, cause = ?, blocked_on = ?, blocked_by = ?, due = ?, ended = ?, starts = ? WHERE id = ?`
	qUnstart      = `UPDATE delivery SET starts = starts - 1, due = ? WHERE id = ? AND starts > 0`
	qPlanned      = `UPDATE delivery SET state = 'applying', flow_hash = ?, plan_no = ?, planned = 1 WHERE id = ?`
	qUnplan       = `UPDATE delivery SET planned = 0 WHERE id = ?`
	qUnblock      = `UPDATE delivery SET blocked_on = '', blocked_by = '', due = ? WHERE id = ?`
	qSetLanes     = `UPDATE delivery SET lanes = ? WHERE id = ?`
	qMoveDelivery = `UPDATE delivery SET lane = ? WHERE id = ? AND lane = ?`
	qBlocked      = `SELECT id, lane, lanes FROM delivery WHERE blocked_on = ? AND blocked_by = ? AND blocked_on <> '' ORDER BY seq LIMIT ?`
	qAddPlan      = `INSERT INTO plan (id, hash, flow_hash, at, body) VALUES (?, ?, ?, ?, ?)`
	qPlan         = `SELECT body FROM plan WHERE id = ?`
	qAddStep      = `INSERT INTO journal (plan, n, kind, call, intent, at, epoch, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	qJournal      = `SELECT n, kind, call, intent, at, epoch, body FROM journal WHERE plan = ? ORDER BY n`

	// claims
	qClaimOwner = `SELECT delivery FROM claim WHERE record = ?`
	// COUNT, so that PostgreSQL asks for each claim of the delivery: a join it made
	// by walking through all claims, if there were none when it was planned.
	qWaited       = `SELECT 1 WHERE EXISTS (SELECT 1 FROM claim_wait WHERE delivery = ?) OR EXISTS (SELECT 1 FROM claim c WHERE c.delivery = ? AND (SELECT COUNT(*) FROM claim_wait w WHERE w.record = c.record) > 0)`
	qClaim        = `INSERT INTO claim (record, delivery) VALUES (?, ?)`
	qClaimsOf     = `SELECT record FROM claim WHERE delivery = ?`
	qUnclaim      = `DELETE FROM claim WHERE record = ?`
	qUnclaimAll   = `DELETE FROM claim WHERE delivery = ?`
	qWaitFor      = `INSERT INTO claim_wait (record, seq, delivery) VALUES (?, ?, ?)`
	qWaiters      = `SELECT delivery FROM claim_wait WHERE record = ? ORDER BY seq, delivery`
	qWaitsOf      = `SELECT record FROM claim_wait WHERE delivery = ?`
	qStopWaiting  = `DELETE FROM claim_wait WHERE delivery = ?`
	qAnyoneWaits  = `SELECT 1 FROM claim_wait LIMIT 1`
	qClaimedOther = `SELECT delivery FROM claim WHERE record = ? AND delivery <> ?`

	// what was made and agreed
	qMadeOf     = `SELECT name, sealed FROM made WHERE maker = (SELECT maker FROM delivery WHERE id = ?) ORDER BY name`
	qSetMade    = `INSERT INTO made (maker, name, system, kind, target, generation, created, gone, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (maker, name) DO UPDATE SET system = excluded.system, kind = excluded.kind, target = excluded.target, generation = excluded.generation, created = excluded.created, gone = excluded.gone, sealed = excluded.sealed`
	qLink       = `SELECT person, system, kind, state, at, sealed FROM link WHERE ident = ?`
	qLinkPerson = `SELECT person, state FROM link WHERE ident = ?`
	qSetLink    = `INSERT INTO link (ident, person, system, kind, state, at, sealed) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ident) DO UPDATE SET person = excluded.person, state = excluded.state, at = excluded.at, sealed = excluded.sealed`
	qNewLink    = `INSERT INTO link (ident, person, system, kind, state, at, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)`
	qUnlink     = `DELETE FROM link WHERE ident = ? AND person = ? AND state = 'pending'`
	qDropLink   = `DELETE FROM link WHERE ident = ? AND person = ?`
	qAddTie     = `INSERT INTO tie (id, person, at, act, who, sealed) VALUES (?, ?, ?, ?, ?, ?)`
	qTies       = `SELECT id, at, act, who, sealed FROM tie WHERE person = ? ORDER BY id DESC LIMIT 1000`
	qMoveTies   = `UPDATE tie SET person = ? WHERE person = ?`
	qSetApart   = `INSERT INTO apart (person, ident, sealed) VALUES (?, ?, ?) ON CONFLICT (person, ident) DO NOTHING`
	qApart      = `SELECT ident, sealed FROM apart WHERE person = ? ORDER BY ident`
	qDropAparts = `DELETE FROM apart WHERE person = ?`
	qDropApart  = `DELETE FROM apart WHERE person = ? AND ident = ?`

	// lessons and lists
	qSetLesson  = `INSERT INTO lesson (mac, at, who, sealed) VALUES (?, ?, ?, ?) ON CONFLICT (mac) DO UPDATE SET at = excluded.at, who = excluded.who, sealed = excluded.sealed`
	qLesson     = `SELECT mac, at, who, sealed FROM lesson WHERE mac = ?`
	qLessons    = `SELECT mac, at, who, sealed FROM lesson ORDER BY at, mac`
	qDropLesson = `DELETE FROM lesson WHERE mac = ?`
	qList       = `INSERT INTO listed (list, doc, run) VALUES (?, ?, ?) ON CONFLICT (list, doc) DO UPDATE SET run = excluded.run`
	qUnlist     = `DELETE FROM listed WHERE list = ? AND doc = ?`
	qListed     = `SELECT run FROM listed WHERE list = ? AND doc = ?`
	qUnlisted   = `SELECT (SELECT v.message FROM version v WHERE v.doc = l.doc ORDER BY v.seq DESC, v.message DESC LIMIT 1) FROM listed l WHERE l.list = ? AND l.run < ? ORDER BY 1 LIMIT ?`
	qMembers    = `SELECT COUNT(*) FROM listed WHERE list = ?`
	qLatestRun  = `SELECT COALESCE(MAX(run), 0) FROM listed WHERE list = ?`
	qMembersOf  = `SELECT COUNT(*) FROM listed WHERE list = ? AND run = ?`
	qLinks      = `SELECT ident, person, system, kind, state, at, sealed FROM link WHERE person = ?`
	qSnapshot   = `SELECT sealed FROM snapshot WHERE target = ?`
	qSetSnap    = `INSERT INTO snapshot (target, system, kind, at, sealed) VALUES (?, ?, ?, ?, ?) ON CONFLICT (target) DO UPDATE SET at = excluded.at, sealed = excluded.sealed`

	// people
	questionCols     = `id, delivery, kind, cause, state, who, asked, answered, sealed, answer`
	qAsk             = `INSERT INTO question (id, delivery, kind, cause, state, who, asked, answered, sealed, answer) VALUES (?, ?, ?, ?, 'open', '', ?, 0, ?, NULL)`
	qQuestion        = `SELECT ` + questionCols + ` FROM question WHERE id = ?`
	qQuestionsOf     = `SELECT ` + questionCols + ` FROM question WHERE delivery = ? ORDER BY id`
	qQuestions       = `SELECT ` + questionCols + ` FROM question WHERE state = ? AND id > ? ORDER BY id LIMIT ?`
	qOpenQuestions   = `SELECT ` + questionCols + ` FROM question WHERE state = 'open' AND id > ? ORDER BY id LIMIT ?`
	qAllQuestions    = `SELECT ` + questionCols + ` FROM question WHERE id > ? ORDER BY id LIMIT ?`
	qAnswer          = `UPDATE question SET state = 'answered', who = ?, answered = ?, answer = ? WHERE id = ? AND state = 'open'`
	qWithdraw        = `UPDATE question SET state = 'withdrawn', answered = ? WHERE delivery = ? AND state = 'open'`
	qAddAudit        = `INSERT INTO audit (id, at, who, act, delivery, note) VALUES (?, ?, ?, ?, ?, ?)`
	qAudits          = `SELECT id, at, who, act, delivery, note FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?`
	qAuditsOf        = `SELECT id, at, who, act, delivery, note FROM audit WHERE id < ? AND delivery = ? AND delivery <> 0 ORDER BY id DESC LIMIT ?`
	qCircuit         = `SELECT system, state, since, retry, failures, reason, login FROM circuit WHERE system = ?`
	qCircuits        = `SELECT system, state, since, retry, failures, reason, login FROM circuit ORDER BY system`
	qSetCircuit      = `INSERT INTO circuit (system, state, since, retry, failures, reason, login) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (system) DO UPDATE SET state = excluded.state, since = excluded.since, retry = excluded.retry, failures = excluded.failures, reason = excluded.reason, login = excluded.login`
	qMessage         = `SELECT m.id, m.seq, m.system, m.kind, m.received, m.withdrawn, m.salt, m.head, m.body FROM message m WHERE m.id = ?`
	qMessages        = `SELECT m.id, m.seq, m.system, m.kind, m.received, m.withdrawn, m.salt, m.head FROM message m WHERE m.id < ? ORDER BY m.id DESC LIMIT ?`
	qMessagesFrom    = `SELECT m.id, m.seq, m.system, m.kind, m.received, m.withdrawn, m.salt, m.head FROM message m WHERE m.id < ? AND m.id >= ? AND m.system = ? ORDER BY m.id DESC LIMIT ?`
	qDeliveryByID    = `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id = ?`
	qTallies         = `SELECT flow, state, CAST(SUM(n) AS BIGINT), CAST(SUM(calls) AS BIGINT), MIN(first), MAX(last) FROM tally GROUP BY flow, state HAVING SUM(n) <> 0 ORDER BY flow, state`
	qOpenCounts      = `SELECT d.flow, d.state, COUNT(*), CAST(SUM(d.calls) AS BIGINT), MIN(d.created), MAX(d.created) FROM delivery d WHERE d.ended = 0 GROUP BY d.flow, d.state ORDER BY d.flow, d.state`
	qLaneOfDelivery  = `SELECT name, mac FROM lane WHERE id = ?`
	qDeliveriesOfDoc = `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.message IN (SELECT message FROM version WHERE doc = ?) ORDER BY d.id`

	// merging
	qAddMerge   = `INSERT INTO lane_merge (loser, winner, at) VALUES (?, ?, ?) ON CONFLICT (loser, winner) DO NOTHING`
	qMerges     = `SELECT loser, winner FROM lane_merge WHERE loser = ? OR winner = ? ORDER BY at, loser, winner`
	qAllMerges  = `SELECT loser FROM lane_merge ORDER BY at, loser, winner`
	qDropMerge  = `DELETE FROM lane_merge WHERE loser = ? AND winner = ?`
	qSetMerging = `UPDATE lane SET merging = ? WHERE id = ?`
	qSetAlias   = `UPDATE lane SET alias = ?, due_at = NULL WHERE id = ?`
	qOpenInLane = `SELECT seq, delivery FROM delivery_lane WHERE lane = ? ORDER BY seq, delivery`
	qEmptyLane  = `DELETE FROM delivery_lane WHERE lane = ?`
	qSetRecov   = `UPDATE lane SET recovering = 1 WHERE id = ?`

	// opening
	qNumbers      = `SELECT at, message, seq, delivery, lane, question, audit, incarnation, codec, restored FROM clock WHERE id = 1`
	qAddNode      = `INSERT INTO node (id, host, pid, started, heartbeat, stopped) SELECT COALESCE(MAX(id), 0) + 1, ?, ?, ?, ?, 0 FROM node`
	qNextSeq      = `SELECT nextval('receive_number')`
	qLastNode     = `SELECT MAX(id) FROM node`
	qStopNode     = `UPDATE node SET stopped = ? WHERE id = ?`
	qOwned        = `SELECT id, running FROM lane WHERE owner <> 0`
	qTakeBack     = `UPDATE lane SET owner = 0, epoch = epoch + 1, running = 0, recovering = ?, due_at = ? WHERE id = ?`
	qCountRecov   = `SELECT COUNT(*) FROM lane WHERE recovering <> 0`
	qInterrupted  = `UPDATE delivery SET due = ? WHERE id = ?`
	qUncount      = `UPDATE delivery SET starts = starts - 1, due = ? WHERE id = ? AND starts > 0`
	qDropRecov    = `UPDATE lane SET recovering = 0 WHERE recovering <> 0 AND owner = 0 AND id NOT IN (SELECT lane FROM delivery_lane)`
	qLaneFollowed = `SELECT alias FROM lane WHERE id = ?`

	// for people
	qCauses   = `SELECT d.code, d.cause, MIN(d.flow), COUNT(*), MIN(d.created), MIN(d.id) FROM delivery d WHERE d.state IN ('held', 'half undone') GROUP BY d.code, d.cause ORDER BY COUNT(*) DESC, MIN(d.id) LIMIT 1000`
	qReason   = `SELECT d.reason, m.salt FROM delivery d LEFT JOIN message m ON m.id = d.message WHERE d.id = ?`
	qLaneUsed = `SELECT 1 FROM delivery_lane WHERE lane = ? LIMIT 1`
	qUnalias  = `UPDATE lane SET alias = 0 WHERE id = ?`
)
