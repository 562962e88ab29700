package clinictest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// The systems of the site. ServerA serves clinic-a, ServerB clinic-b.
const (
	Source  = "commcare"
	ServerA = "openmrs-a"
	ServerB = "openmrs-b"
)

// connectorOf and placeOf are of the site's systems.
var (
	connectorOf = map[string]string{Source: "commcare", ServerA: "openmrs", ServerB: "openmrs"}
	placeOf     = map[string]string{ServerA: "clinic-a", ServerB: "clinic-b"}
)

// Simulators makes a simulator of each system, seeded with its places and with
// the dictionary, a seed of OpenMRS.
func Simulators(registry connector.Registry, dictionary []byte) (map[string]simulate.Simulator, error) {
	sims := map[string]simulate.Simulator{}
	for name, kind := range connectorOf {
		sim, err := registry[kind].Simulate(nil)
		if err != nil {
			return nil, err
		}
		seed := dictionary
		if name == Source {
			seed = Places()
		}
		if err := sim.Seed(seed); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sims[name] = sim
	}
	return sims, nil
}

// WriteSite writes dir/site.yaml, whose systems are the simulators, with options
// that each of them has besides; secrets stand in files, as in a real site. The
// integrations named are active.
func WriteSite(dir string, registry connector.Registry, sims map[string]simulate.Simulator, url func(name string) string, more map[string]string, integrations ...string) error {
	systems := map[string]any{}
	for name, sim := range sims {
		kind := connectorOf[name]
		secret := map[string]bool{}
		for _, o := range registry[kind].Options {
			secret[o.Name] = o.Secret
		}
		options := map[string]any{"url": url(name), "timeout": "2s"}
		for k, v := range sim.Settings() {
			if secret[k] {
				path := filepath.Join(dir, name+"."+k)
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					return err
				}
				v = "file:" + path
			}
			options[k] = v
		}
		for k, v := range more {
			options[k] = v
		}
		s := map[string]any{"connector": kind, "options": options}
		if place, ok := placeOf[name]; ok {
			s["places"] = []string{place}
		}
		systems[name] = s
	}
	active := map[string]any{}
	for _, name := range integrations {
		active[name] = map[string]any{"site": map[string]any{"registrationForm": RegistrationXMLNS, "visitForm": VisitXMLNS}}
	}
	text, err := yaml.Marshal(map[string]any{"zone": "Africa/Nairobi", "region": "KE", "systems": systems, "integrations": active})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "site.yaml"), text, 0o600)
}

// LoadSite reads dir/site.yaml and an integration's folder.
func LoadSite(dir, folder string, registry connector.Registry) (*flow.Site, *flow.Integration, error) {
	site, problems := flow.LoadSite(filepath.Join(dir, "site.yaml"), registry)
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	in, problems := flow.Load(folder, registry, site)
	return site, in, problems.Err()
}

// TempDir makes a folder, in memory where there is one: an fsync there costs
// nothing.
func TempDir(name string) (string, error) {
	root := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		root = "/dev/shm"
	}
	return os.MkdirTemp(root, "kiungo-"+name+"-")
}

// CallID is the header call.IDHeader of a request, taken apart.
type CallID struct {
	Delivery, Plan int64
	Call           string
	Epoch          int64
}

// ParseCall takes the header apart; false if it is none.
func ParseCall(s string) (c CallID, ok bool) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return c, false
	}
	var err [3]error
	c.Delivery, err[0] = strconv.ParseInt(parts[0], 10, 64)
	c.Plan, err[1] = strconv.ParseInt(parts[1], 10, 64)
	c.Epoch, err[2] = strconv.ParseInt(parts[3], 10, 64)
	c.Call = parts[2]
	return c, err[0] == nil && err[1] == nil && err[2] == nil
}
