package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// What systemd is told (sd_notify(3), systemd 252): the service is ready, stops,
// lives.
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
	notifyLives    = "WATCHDOG=1"
)

// notify tells systemd, where it started us with Type=notify; else it does
// nothing.
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // an abstract socket
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd %s: %w", state, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell systemd %s: %w", state, err)
	}
	return nil
}

// watchdogPause is how often systemd wants to hear that we live; 0: not at all.
func watchdogPause() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Microsecond / 2
}

// watchdog tells systemd that we live, until ctx ends. Before each time it has
// the ledger asked: what the answer is does not matter, a database that is away
// is no reason to be killed; that there is one does.
func watchdog(ctx context.Context, ask func(context.Context) error) error {
	pause := watchdogPause()
	if pause == 0 {
		return nil
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		short, cancel := context.WithTimeout(ctx, pause)
		_ = ask(short)
		cancel()
		if err := notify(notifyLives); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
