package store

import (
	"bytes"
	"slices"
)

// claim takes all the records for a delivery, or none: then it gives the
// delivery that has one of them, and this one waits for all of them. What it
// had claimed before and does not need any more is given to those who wait.
//
// In a shared transaction a delivery that has claimed nothing before takes what
// it wants, and fails if another has one of them, or takes it just now.
func (t *tx) claim(delivery, seq int64, want [][]byte, before bool) (holder int64, err error) {
	if !t.alone {
		if before {
			return 0, errAlone
		}
		for _, k := range want {
			if err := t.must(qClaim, k, delivery); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	for _, k := range want {
		var has int64
		if _, err := one(t, qClaimedOther, func(r row) { has = r.int(0) }, k, delivery); err != nil {
			return 0, err
		}
		if has == 0 {
			continue
		}
		if holder == 0 {
			holder = has
		}
		// It may have been kept by what waits for claims, too (see passes).
		if err := t.wakeLanesOf(has); err != nil {
			return 0, err
		}
	}
	var have [][]byte
	if before {
		if have, err = t.keys(qClaimsOf, delivery); err != nil {
			return 0, err
		}
	}
	if holder != 0 {
		if err := t.unclaim(delivery); err != nil {
			return 0, err
		}
		for _, k := range want {
			if err := t.must(qWaitFor, k, seq, delivery); err != nil {
				return 0, err
			}
		}
		return holder, nil
	}
	for _, k := range want {
		if !contains(have, k) {
			if err := t.must(qClaim, k, delivery); err != nil {
				return 0, err
			}
		}
	}
	for _, k := range have {
		if contains(want, k) {
			continue
		}
		if err := t.must(qUnclaim, k); err != nil {
			return 0, err
		}
		if err := t.passOn(k); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// unclaim gives up all that a delivery has claimed or waits for; those that
// waited for it get it in the same commit.
func (t *tx) unclaim(delivery int64) error {
	if !t.alone {
		return t.must(qUnclaimAll, delivery) // nobody waits: see uncontended
	}
	anyone, err := one(t, qAnyoneWaits, func(row) {})
	if err != nil {
		return err
	}
	if !anyone {
		return t.must(qUnclaimAll, delivery)
	}
	if err := t.must(qStopWaiting, delivery); err != nil {
		return err
	}
	have, err := t.keys(qClaimsOf, delivery)
	if err != nil || len(have) == 0 {
		return err
	}
	if err := t.must(qUnclaimAll, delivery); err != nil {
		return err
	}
	for _, k := range have {
		if err := t.passOn(k); err != nil {
			return err
		}
	}
	return nil
}

// uncontended gives errAlone in a shared transaction if somebody waits for what
// a delivery has claimed. Who begins to wait does so alone.
func (t *tx) uncontended(delivery int64) error {
	if t.alone {
		return nil
	}
	waited, err := one(t, qWaited, func(row) {}, delivery, delivery)
	if err == nil && waited {
		err = errAlone
	}
	return err
}

// passOn gives a free record to the first delivery, in receive order, that
// waits for it and can have all that it waits for.
func (t *tx) passOn(record []byte) error {
	var waiters []int64
	err := t.each(qWaiters, func(r row) (bool, error) {
		waiters = append(waiters, r.int(0))
		return true, nil
	}, record)
	if err != nil {
		return err
	}
	for _, w := range waiters {
		want, err := t.keys(qWaitsOf, w)
		if err != nil {
			return err
		}
		free := true
		for _, k := range want {
			taken, err := one(t, qClaimOwner, func(row) {}, k)
			if err != nil {
				return err
			}
			if taken {
				free = false
				break
			}
		}
		if !free {
			continue // it is looked at again when the other record is released
		}
		if err := t.grant(w, want); err != nil {
			return err
		}
		return nil
	}
	return nil
}

// grant claims for a waiting delivery and makes it due.
func (t *tx) grant(delivery int64, records [][]byte) error {
	if err := t.must(qStopWaiting, delivery); err != nil {
		return err
	}
	for _, k := range records {
		if err := t.must(qClaim, k, delivery); err != nil {
			return err
		}
	}
	return t.unblock(delivery)
}

// unblock makes a blocked delivery due now and wakes its lanes.
func (t *tx) unblock(delivery int64) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	if err := t.must(qUnblock, t.now, delivery); err != nil {
		return err
	}
	return t.wakeLanesOf(delivery)
}

// wakeLanesOf has the lanes of an open delivery looked at.
func (t *tx) wakeLanesOf(delivery int64) error {
	var d brief
	found, err := one(t, qBrief, func(r row) { d = scanBrief(r) }, delivery)
	if err != nil || !found {
		return err
	}
	in, err := t.lanesOf(d.via)
	if err != nil {
		return err
	}
	for _, id := range in {
		if err := t.wake(id, t.now, d.bulk); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) keys(q string, delivery int64) ([][]byte, error) {
	var keys [][]byte
	err := t.each(q, func(r row) (bool, error) {
		keys = append(keys, r.blob(0))
		return true, nil
	}, delivery)
	return keys, err
}

func contains(keys [][]byte, k []byte) bool {
	return slices.ContainsFunc(keys, func(x []byte) bool { return bytes.Equal(x, k) })
}
