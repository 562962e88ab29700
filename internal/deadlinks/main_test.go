package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeadLinksAndMissingHeadingsAreFound(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.md", "# One two\n[ok](b.md) [ok](b.md#who-is-whom) [here](#one-two) [far](https://example.org/x)\n[gone](c.md) [gone](b.md#nobody)\n`[code](nowhere.md)`\n")
	write("b.md", "## Who is `whom`?\n")
	problems, files := check(dir)
	if files != 2 || len(problems) != 2 || !strings.Contains(problems[0], "c.md is not there") || !strings.Contains(problems[1], "#nobody") {
		t.Fatalf("%d files, %q", files, problems)
	}
}
