package metrics

import (
	"fmt"
	"strings"
)

// metric is one figure: what is registered, and what docs/operating.md says of
// it, are made from the same row.
type metric struct {
	name, kind string // kind: counter, gauge or histogram
	labels     []string
	help       string
	buckets    []float64
}

// Buckets, in seconds.
var (
	fast  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5} // a commit, intake
	calls = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	slow  = []float64{.05, .1, .25, .5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400} // a delivery, also through a night without the system
	sizes = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}
)

// The figures of one node: they are added up over nodes.
var (
	messages        = metric{"kiungo_messages_total", "counter", []string{"system", "outcome"}, "Messages that arrived, pushed or polled: accepted, duplicate (known already), refused (not stored: the sender is told to come again)", nil}
	intakeRequests  = metric{"kiungo_intake_requests_total", "counter", []string{"system", "code"}, "Requests to /in/SYSTEM by HTTP status; system is \"unknown\" if the site has none of that name", nil}
	intakeSeconds   = metric{"kiungo_intake_request_duration_seconds", "histogram", []string{"system"}, "How long the answer to a request to /in/SYSTEM took, the commit included", fast}
	deliveriesEnded = metric{"kiungo_deliveries_total", "counter", []string{"flow", "outcome"}, "Deliveries that ended (done, skipped, superseded, refused, undone) or were stopped for a person (held, half_undone)", nil}
	deliverySeconds = metric{"kiungo_delivery_duration_seconds", "histogram", []string{"flow"}, "From a message's acceptance to the end of its delivery", slow}
	running         = metric{"kiungo_deliveries_in_progress", "gauge", nil, "Deliveries that this node works on now", nil}
	callsTotal      = metric{"kiungo_calls_total", "counter", []string{"system", "class", "kind"}, "Requests to systems by what the answer meant (done, retry_later, refused, not_authorised, unknown, conflict, accepted) and by kind (read, write, probe)", nil}
	callSeconds     = metric{"kiungo_call_duration_seconds", "histogram", []string{"system"}, "How long a request to a system took", calls}
	callsNow        = metric{"kiungo_calls_in_flight", "gauge", []string{"system"}, "Requests under way to a system", nil}
	callsMost       = metric{"kiungo_calls_in_flight_limit", "gauge", []string{"system"}, "The most requests at a time that this node gives a system (its share of option limit)", nil}
	callsWait       = metric{"kiungo_calls_wait_seconds_total", "counter", []string{"system"}, "How long requests have waited for the system's limit or rate", nil}
	circuitOpen     = metric{"kiungo_circuit_open", "gauge", []string{"system"}, "1: the system is taken for down, its deliveries wait without a call", nil}
	commitSeconds   = metric{"kiungo_ledger_commit_duration_seconds", "histogram", nil, "How long a commit of the ledger took, from its begin", fast}
	commitUnits     = metric{"kiungo_ledger_commit_units", "histogram", nil, "How many writes were committed together", sizes}
	walBytes        = metric{"kiungo_ledger_wal_bytes", "gauge", nil, "Size of the write-ahead log (SQLite)", nil}
	diskFree        = metric{"kiungo_disk_free_bytes", "gauge", nil, "Free space on the ledger's disk (SQLite)", nil}
	diskFloor       = metric{"kiungo_disk_floor_bytes", "gauge", nil, "Below this no message is taken (SQLite)", nil}
	putAway         = metric{"kiungo_archive_messages_total", "counter", []string{"outcome"}, "Messages of which this node put away what the site no longer keeps (site.yaml keep:): wiped (their contents), archived (all that belongs to them)", nil}
	putFreed        = metric{"kiungo_archive_freed_bytes_total", "counter", nil, "Bytes that were given back to the disk by it", nil}
	ready           = metric{"kiungo_ready", "gauge", nil, "1: this node takes messages and works on them (as /readyz)", nil}
	build           = metric{"kiungo_build_info", "gauge", []string{"version", "commit", "goversion"}, "Always 1", nil}
)

// The figures of the ledger: the same on every node that shares it; take max.
var (
	open          = metric{"kiungo_deliveries_open", "gauge", []string{"flow", "state"}, "Deliveries that have not ended: received (in their lanes' queues), waiting, applying, undoing, held, half_undone", nil}
	openOldest    = metric{"kiungo_deliveries_open_oldest_seconds", "gauge", []string{"flow", "state"}, "Age of the oldest of them", nil}
	flowSystem    = metric{"kiungo_flow_system", "gauge", []string{"flow", "system"}, "Always 1: the flow may write to the system; to be joined with others by flow", nil}
	backupAge     = metric{"kiungo_backup_age_seconds", "gauge", nil, "Age of the newest good backup, on the node that makes them (site.yaml backup:); of none ever, since the node looked first", nil}
	putAge        = metric{"kiungo_archive_age_seconds", "gauge", nil, "Time since all was put away that the site no longer keeps (site.yaml keep:), on the node that does it; since it became that node, if it could not yet", nil}
	systemStopped = metric{"kiungo_system_stopped", "gauge", []string{"system"}, "1: nothing is sent to the system, because it was restored from a backup, until somebody says: kiungo replay --missing", nil}
	stoppedAge    = metric{"kiungo_system_stopped_seconds", "gauge", []string{"system"}, "How long that has been so, 0 if it is not", nil}
	systemWaiting = metric{"kiungo_system_deliveries_waiting", "gauge", []string{"system"}, "Deliveries that wait for a system that is down; those behind them in their lanes are not counted", nil}
	systemOldest  = metric{"kiungo_system_oldest_waiting_seconds", "gauge", []string{"system"}, "Age of the oldest delivery that waits for a system that is down, 0 if none does", nil}
	waiting       = metric{"kiungo_deliveries_waiting", "gauge", []string{"on"}, "Deliveries that were begun and wait: on a circuit, claim, question, merge, or a time (to be tried again)", nil}
	held          = metric{"kiungo_deliveries_held", "gauge", nil, "Deliveries that are held or half undone: they need a person", nil}
	questions     = metric{"kiungo_questions_open", "gauge", nil, "Questions that nobody has answered", nil}
	lanesDue      = metric{"kiungo_lanes_due", "gauge", []string{"class"}, "Lanes that could be worked on now and are not: the queue's depth; class is live or bulk (what came in bulk gives way)", nil}
	lanesOldest   = metric{"kiungo_lanes_due_oldest_seconds", "gauge", []string{"class"}, "How long the first of them has been due, 0 if none is: the queue's age", nil}
	streamAge     = metric{"kiungo_stream_age_seconds", "gauge", []string{"system", "stream"}, "Time since a polled stream was last read with success, or since this node began if it never was", nil}
	streamEvery   = metric{"kiungo_stream_interval_seconds", "gauge", []string{"system", "stream"}, "How often a polled stream is to be read", nil}
	nodeAge       = metric{"kiungo_node_heartbeat_age_seconds", "gauge", []string{"node"}, "Time since a node of the ledger last said that it lives (PostgreSQL)", nil}
	nodeLease     = metric{"kiungo_node_lease_seconds", "gauge", []string{"node"}, "How long after its last heartbeat a node's work is given to others (PostgreSQL)", nil}
	ledgerUp      = metric{"kiungo_ledger_up", "gauge", nil, "1: the ledger answered what is asked for these figures", nil}
	lookSeconds   = metric{"kiungo_ledger_look_seconds", "gauge", nil, "How long that took; it is asked again at the earliest after a hundred times as long", nil}
)

// ofNode and ofLedger list them in the order of the manual.
var (
	ofNode = []metric{messages, intakeRequests, intakeSeconds, deliveriesEnded, deliverySeconds, running, callsTotal, callSeconds, callsNow, callsMost, callsWait,
		circuitOpen, commitSeconds, commitUnits, walBytes, diskFree, diskFloor, putAway, putFreed, ready, build}
	ofLedger = []metric{lanesDue, lanesOldest, open, openOldest, flowSystem, systemStopped, stoppedAge, systemWaiting, systemOldest, waiting, held, questions, streamAge, streamEvery, nodeAge, nodeLease, backupAge, putAge, ledgerUp, lookSeconds}
)

// Table gives the figures as the tables of docs/operating.md.
func Table() string {
	var b strings.Builder
	part := func(title string, list []metric) {
		fmt.Fprintf(&b, "%s\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n", title)
		for _, m := range list {
			labels := "–"
			if len(m.labels) > 0 {
				labels = "`" + strings.Join(m.labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labels, m.help)
		}
		b.WriteByte('\n')
	}
	part("Of one node (add them up over nodes):", ofNode)
	part("Of the ledger (the same on every node: take `max`):", ofLedger)
	return b.String()
}
