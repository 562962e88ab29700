// Deadlinks checks that every relative link in the Markdown files of the
// repository leads to a file, and that a #fragment names a heading there.
// Links to other hosts are not followed.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*$`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

func main() {
	problems, files := check(".")
	for _, p := range problems {
		fmt.Println(p)
	}
	fmt.Printf("%d dead links in %d Markdown files\n", len(problems), files)
	if len(problems) > 0 || files == 0 {
		os.Exit(1)
	}
}

func check(root string) (problems []string, files int) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".md") {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		problems = append(problems, dead(path, string(text))...)
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems, files
}

func dead(path, text string) []string {
	var problems []string
	text = code.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
	for _, m := range link.FindAllStringSubmatchIndex(text, -1) {
		target := text[m[2]:m[3]]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		file, fragment, _ := strings.Cut(target, "#")
		where := path
		if file != "" {
			where = filepath.Join(filepath.Dir(path), file)
		}
		line := 1 + strings.Count(text[:m[0]], "\n")
		there, err := os.ReadFile(where)
		if info, statErr := os.Stat(where); statErr == nil && info.IsDir() {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: %s is not there", path, line, target))
			continue
		}
		if fragment != "" && strings.HasSuffix(where, ".md") && !anchors(string(there))[fragment] {
			problems = append(problems, fmt.Sprintf("%s:%d: %s has no heading #%s", path, line, where, fragment))
		}
	}
	return problems
}

func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
		out[slug(m[1])] = true
	}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out[slug(m[1])] = true
	}
	return out
}

// slug makes a heading's anchor as the forges do.
func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}
