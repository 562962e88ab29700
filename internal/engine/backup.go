package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// backer is a ledger that can be backed up while it runs.
type backer interface {
	Backup(ctx context.Context, to string, o store.BackupOptions) (folder string, m *store.Manifest, err error)
}

const (
	// backupLooked is how often it is looked whether a backup is due, and how
	// old the newest one is.
	backupLooked = time.Minute
	// backupAgain is how long after one that failed the next is tried.
	backupAgain = 10 * time.Minute
	// alarmAgain is how often it is said that the newest one is too old.
	alarmAgain = 24 * time.Hour
)

// backups is what is known of the backups that are made by schedule.
type backups struct {
	mu      sync.Mutex
	since   time.Time // when this was first looked at
	newest  time.Time // end of the newest good one, zero: none
	looked  bool
	failed  time.Time // the last try, if it failed
	alarmed time.Time
}

// BackupAge gives the age of the newest good backup, or how long there has been
// none. It gives false on a node that does not make them, or when the site has
// none made.
func (e *Engine) BackupAge() (age time.Duration, ok bool) {
	b := &e.backups
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.looked {
		return 0, false
	}
	from := b.newest
	if from.IsZero() {
		from = b.since
	}
	return max(0, time.Since(from)), true
}

// keepBackups makes backups when they are due, drops the oldest, and alarms
// when the newest is too old. It runs on one node.
func (e *Engine) keepBackups(ctx context.Context) {
	l, ok := e.Ledger.(backer)
	if !ok {
		return
	}
	defer func() {
		e.backups.mu.Lock()
		e.backups.looked = false // another node does it
		e.backups.mu.Unlock()
	}()
	tick := time.NewTicker(backupLooked)
	defer tick.Stop()
	for {
		if err := e.backUpIfDue(ctx, l); err != nil && ctx.Err() == nil {
			e.Log.Error("no backup could be made; it is tried again in 10 minutes", "error", err)
			e.note(ctx, "backup failed", err.Error())
		}
		e.alarmBackup(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// backUpIfDue looks at what is there and makes a backup if its time has come.
// What was missed while nothing ran is made up for, once.
func (e *Engine) backUpIfDue(ctx context.Context, l backer) error {
	plan, b := e.Site.Backup, &e.backups
	newest, err := newestBackup(plan.To)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if b.since.IsZero() {
		b.since = time.Now()
	}
	b.newest, b.looked = newest, true
	failed := b.failed
	b.mu.Unlock()
	now, err := e.Today()
	if err != nil {
		return nil // the clock is alarmed about elsewhere
	}
	if !newest.IsZero() {
		zone := e.Site.Zone
		if zone == nil {
			zone = time.UTC
		}
		due, err := plan.Every.Next(newest, zone)
		if err != nil {
			return err
		}
		if now.Before(due) {
			return nil
		}
	}
	if !failed.IsZero() && time.Since(failed) < backupAgain {
		return nil
	}
	folder, m, err := l.Backup(ctx, plan.To, store.BackupOptions{Who: "schedule"})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failed = time.Now()
		return err
	}
	b.failed, b.newest = time.Time{}, m.Ended
	e.Log.Info("backed up", "to", folder, "bytes", m.Size())
	return prune(plan.To, m.Ledger, plan.Keep)
}

// newestBackup gives when the newest complete backup in a folder was ended.
func newestBackup(in string) (time.Time, error) {
	list, err := store.Backups(in)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil || len(list) == 0 {
		return time.Time{}, err
	}
	return list[len(list)-1].Manifest.Ended, nil
}

// prune drops the oldest backups of a ledger. It is called after a good one was
// made, which stays.
func prune(in, of string, keep int) error {
	list, err := store.Backups(in)
	if err != nil {
		return err
	}
	var ours []store.BackupAt
	for _, b := range list {
		if b.Manifest.Ledger == of {
			ours = append(ours, b)
		}
	}
	for len(ours) > max(keep, 1) {
		if err := store.DropBackup(ours[0].Folder); err != nil {
			return fmt.Errorf("drop an old backup: %w", err)
		}
		ours = ours[1:]
	}
	return nil
}

// alarmBackup says when the newest backup is too old, once a day.
func (e *Engine) alarmBackup(ctx context.Context) {
	age, ok := e.BackupAge()
	b := &e.backups
	b.mu.Lock()
	again := b.alarmed.IsZero() || time.Since(b.alarmed) >= alarmAgain
	if !ok || age <= e.Site.Backup.Alarm {
		b.alarmed = time.Time{}
		again = false
	} else if again {
		b.alarmed = time.Now()
	}
	b.mu.Unlock()
	if !again {
		return
	}
	text := fmt.Sprintf("the newest backup in %s is %s old; the alarm is at %s", e.Site.Backup.To, age.Round(time.Minute), e.Site.Backup.Alarm)
	e.Log.Warn(text)
	e.note(ctx, "alarm backup", text)
}

// note writes something into the audit trail that no person did.
func (e *Engine) note(ctx context.Context, act, text string) {
	if err := e.Ledger.Audit(context.WithoutCancel(ctx), ledger.Audit{Who: "kiungo", Act: act, Note: text}); err != nil {
		e.Log.Error("could not write into the audit trail", "act", act, "error", err)
	}
}
