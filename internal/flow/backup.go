package flow

import (
	"regexp"
	"time"

	"github.com/kiungo-health/kiungo/internal/schedule"
)

// Backup says when the ledger is backed up, and where to.
type Backup struct {
	To    string // a folder, on another disk
	Every schedule.Schedule
	Keep  int           // how many are kept
	Alarm time.Duration // the age of the newest one that is alarmed about
}

var backupKeys = []key{
	{name: "to", about: "the folder where backups are kept, on another disk: /mnt/backup", shape: "text", required: true},
	{name: "every", about: "when: a time of day (02:00), or as every: of a list (Monday 04:00, 6 hours); left out, 02:00", shape: "text"},
	{name: "keep", about: "how many are kept; left out, 14", shape: "number"},
	{name: "alarm", about: "the age of the newest one at which it is alarmed about: 30h; left out, 30h", shape: "text"},
}

const (
	usualBackup      = "02:00"
	usualBackups     = 14
	usualBackupAlarm = 30 * time.Hour
)

var clockOfDay = regexp.MustCompile(`^\d\d?:\d\d$`)

// backup reads backup: of a site, nil if there is none.
func (r *reader) backup(n *node) *Backup {
	if n == nil {
		return nil
	}
	b := &Backup{Keep: usualBackups, Alarm: usualBackupAlarm}
	if !r.keys(n, "backup", backupKeys) {
		return nil
	}
	b.To = r.text(n.get("to"))
	if at := n.get("to"); at != nil && b.To == "" {
		r.errorf(at, CodeValue, "backup needs a folder: to: /mnt/backup")
	}
	every, at := usualBackup, n
	if e := n.get("every"); e != nil {
		every, at = r.text(e), e
	}
	if clockOfDay.MatchString(every) {
		every = "day " + every
	}
	var err error
	if b.Every, err = schedule.Parse(schedule.Text{Every: every}); err != nil {
		r.errorf(at, CodeValue, "%v", err)
	}
	if k := n.get("keep"); k != nil {
		b.Keep = r.integer(k, 1, 10_000)
	}
	if a := n.get("alarm"); a != nil {
		if b.Alarm, err = time.ParseDuration(r.text(a)); err != nil || b.Alarm <= 0 {
			r.errorf(a, CodeValue, "%q is no length of time; write 30h", a.text)
		}
	}
	return b
}
