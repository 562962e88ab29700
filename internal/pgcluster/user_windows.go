package pgcluster

import "os/exec"

func asOther(*exec.Cmd) error { return nil }

func giveAway(string) error { return nil }
