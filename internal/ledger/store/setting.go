package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names of settings: what a ledger knows of itself.
const (
	settingKeyring = "keyring" // PostgreSQL: which keyring is the ledger's
	settingLedger  = "ledger"  // its name for itself, the same in all copies
	settingPlace   = "place"   // PostgreSQL: which server, timeline and database it is in
	settingRaise   = "raise"   // it was put here: the incarnation is to be raised when it is opened
	settingMoving  = "moving"  // what was copied into it so far: it is not complete
	settingMoved   = "moved"   // it was moved away
)

// ofTheCopy are settings that belong to one copy of a ledger and are not
// carried to another.
var ofTheCopy = []string{settingKeyring, settingPlace, settingRaise, settingMoving, settingMoved}

func settingOf(c conn, name string) (value []byte, err error) {
	_, err = one(c, `SELECT value FROM setting WHERE name = ?`, func(r row) { value = r.blob(0) }, name)
	return value, err
}

func setSetting(c conn, name string, value []byte) error {
	_, err := c.exec(`INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

func dropSetting(c conn, name string) error {
	_, err := c.exec(`DELETE FROM setting WHERE name = ?`, name)
	return err
}

// settingJSON reads a setting that is kept as JSON.
func settingJSON[T any](c conn, name string) (*T, error) {
	b, err := settingOf(c, name)
	if err != nil || b == nil {
		return nil, err
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("the ledger's setting %q: %w", name, err)
	}
	return &out, nil
}

func setSettingJSON(c conn, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return setSetting(c, name, b)
}

// toRaise is the setting "raise".
type toRaise struct {
	Why  string `json:"why"`
	Who  string `json:"who"`
	Lost bool   `json:"lost"` // commits were lost
}

// movedTo is the setting "moved".
type movedTo struct {
	To   string    `json:"to"` // without a password
	At   time.Time `json:"at"`
	Done bool      `json:"done"` // all is there
}

// usable refuses a ledger that was moved away, or is not all here.
func usable(c conn) error {
	gone, err := settingJSON[movedTo](c, settingMoved)
	if err != nil {
		return err
	}
	switch {
	case gone != nil && gone.Done:
		return fmt.Errorf("this ledger was moved to %s on %s and is sealed: serve from there; if nothing ran there yet, \"kiungo move --undo\" takes the move back", gone.To, gone.At.Format("2006-01-02 15:04"))
	case gone != nil:
		return fmt.Errorf("this ledger is being moved to %s since %s: run the same \"kiungo move\" again to end it, or \"kiungo move --undo\" to take it back", gone.To, gone.At.Format("2006-01-02 15:04"))
	}
	coming, err := settingJSON[progress](c, settingMoving)
	if err != nil || coming == nil {
		return err
	}
	return fmt.Errorf("not all of the ledger from %s is here: run the same command that copies it here once more", coming.From)
}
