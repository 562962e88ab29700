package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5/pgconn"
)

const deploy = "../../deploy"

func readDeploy(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// takes checks that the program takes a command line.
func takes(t *testing.T, where string, args []string) {
	t.Helper()
	c, rest, err := root().Find(args)
	if err == nil && c.Name() == "kiungo" {
		t.Errorf("%s: kiungo %s names no command", where, strings.Join(args, " "))
		return
	}
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: kiungo %s: %v", where, strings.Join(args, " "), err)
	}
}

// variables are the names of the environment that the program reads.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	name := regexp.MustCompile(`"(KIUNGO_[A-Z_]+|OTEL_[A-Z_]+)"`)
	for _, pattern := range []string{"*.go", "../../internal/seal/*.go", "../../internal/trace/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range name.FindAllStringSubmatch(string(b), -1) {
				out[m[1]] = true
			}
		}
	}
	return out
}

func knownVariable(t *testing.T, where string, known map[string]bool, name string) {
	t.Helper()
	if !known[name] {
		t.Errorf("%s sets %s, which the program does not read", where, name)
	}
}

func TestTheServiceUnitFitsTheProgram(t *testing.T) {
	unit := readDeploy(t, "kiungo.service")
	known := variables(t)
	settings := map[string]string{}
	for line := range strings.Lines(unit) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		settings[key] = value
		if key == "Environment" {
			name, _, _ := strings.Cut(value, "=")
			knownVariable(t, "kiungo.service", known, name)
		}
	}
	bin, rest, _ := strings.Cut(settings["ExecStart"], " ")
	takes(t, "kiungo.service", strings.Fields(rest))
	if settings["Type"] != "notify" || settings["WatchdogSec"] == "" || settings["StateDirectory"] != "kiungo" {
		t.Errorf("the unit is not of the kind that the program tells systemd about: %v", settings)
	}
	// An unrecovered panic of Go's ends with 2, as wrong use does.
	if settings["RestartPreventExitStatus"] != "" {
		t.Error("a crash would not be started again")
	}
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here: the unit was read, not verified")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kiungo.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, bin, self)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), verify, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "kiungo.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

var jsonList = regexp.MustCompile(`\[.*\]`)

// list reads the JSON form of CMD and the like.
func list(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	if err := json.Unmarshal([]byte(jsonList.FindString(line)), &out); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

func TestTheDockerfileFitsTheProgram(t *testing.T) {
	text := strings.ReplaceAll(readDeploy(t, "Dockerfile"), "\\\n", " ")
	known := variables(t)
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(gomod))[1]
	seen := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		seen[fields[0]]++
		switch fields[0] {
		case "FROM":
			if strings.HasPrefix(fields[1], "golang:") && !strings.HasPrefix(fields[1], "golang:"+version+"-") {
				t.Errorf("it is built with %s, go.mod asks for %s", fields[1], version)
			}
		case "COPY":
			if strings.HasPrefix(fields[1], "--") {
				continue // of the stage before
			}
			for _, from := range fields[1 : len(fields)-1] {
				if _, err := os.Stat(filepath.Join("../..", from)); err != nil {
					t.Error(err)
				}
			}
		case "ENV":
			for _, f := range fields[1:] {
				name, _, _ := strings.Cut(f, "=")
				knownVariable(t, "Dockerfile", known, name)
			}
		case "CMD":
			takes(t, "Dockerfile", list(t, line))
		case "HEALTHCHECK":
			takes(t, "Dockerfile", list(t, line)[1:])
		case "RUN":
			if strings.Contains(line, "go build") && !strings.Contains(line, "CGO_ENABLED=0") {
				t.Error("a program that needs a C library does not start in an empty image")
			}
		}
	}
	for _, need := range []string{"USER", "CMD", "HEALTHCHECK", "ENV", "ENTRYPOINT", "STOPSIGNAL"} {
		if seen[need] == 0 {
			t.Errorf("there is no %s", need)
		}
	}
}

func TestComposeFitsTheProgram(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Build       struct{ Context, Dockerfile string }
			Command     []string
			Environment map[string]string
			Secrets     []string
			Volumes     []string
			Ports       []string
			Healthcheck struct{ Test []string }
			DependsOn   map[string]any `yaml:"depends_on"`
		}
		Volumes map[string]any
		Secrets map[string]struct{ File string }
	}
	if err := yaml.Unmarshal([]byte(readDeploy(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	known := variables(t)
	nodes := 0
	ports := map[string]bool{}
	for name, s := range file.Services {
		for _, x := range s.Secrets {
			if _, ok := file.Secrets[x]; !ok {
				t.Errorf("%s: there is no secret %s", name, x)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, ok := file.Volumes[from]; !ok && !strings.HasPrefix(from, "./") {
				t.Errorf("%s: there is no volume %s", name, from)
			}
		}
		for _, p := range s.Ports {
			outside := p[:strings.LastIndex(p, ":")]
			if ports[outside] || !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is taken, or open to the world without TLS", name, p)
			}
			ports[outside] = true
		}
		if s.Build.Dockerfile == "" {
			continue
		}
		nodes++
		if _, err := os.Stat(filepath.Join(deploy, s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		takes(t, "compose.yaml", s.Command)
		takes(t, "compose.yaml", s.Healthcheck.Test[2:])
		for k := range s.Environment {
			knownVariable(t, "compose.yaml", known, k)
		}
		conf, err := pgconn.ParseConfig(s.Environment["KIUNGO_DATABASE"])
		if err != nil || conf.Host != "postgres" || file.Services[conf.Host].Command == nil {
			t.Errorf("%s: KIUNGO_DATABASE: %v", name, err)
		}
	}
	if nodes != 2 {
		t.Errorf("%d nodes, want 2", nodes)
	}
}
