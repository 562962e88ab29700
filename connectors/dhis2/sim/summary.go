package sim

import (
	"net/http"
	"slices"
	"strings"
)

// importOptions is what a summary repeats of the request; the order and the
// parts that never vary are those of the recorded answers.
type importOptions struct {
	IDSchemes                   map[string]string `json:"idSchemes"`
	DryRun                      bool              `json:"dryRun"`
	Async                       bool              `json:"async"`
	ImportStrategy              string            `json:"importStrategy"`
	MergeMode                   string            `json:"mergeMode"`
	ReportMode                  string            `json:"reportMode"`
	SkipExistingCheck           bool              `json:"skipExistingCheck"`
	Sharing                     bool              `json:"sharing"`
	SkipNotifications           bool              `json:"skipNotifications"`
	SkipAudit                   bool              `json:"skipAudit"`
	DatasetAllowsPeriods        bool              `json:"datasetAllowsPeriods"`
	StrictPeriods               bool              `json:"strictPeriods"`
	StrictDataElements          bool              `json:"strictDataElements"`
	StrictCategoryOptionCombos  bool              `json:"strictCategoryOptionCombos"`
	StrictAttributeOptionCombos bool              `json:"strictAttributeOptionCombos"`
	StrictOrganisationUnits     bool              `json:"strictOrganisationUnits"`
	StrictDataSetApproval       bool              `json:"strictDataSetApproval"`
	StrictDataSetLocking        bool              `json:"strictDataSetLocking"`
	StrictDataSetInputPeriods   bool              `json:"strictDataSetInputPeriods"`
	RequireCategoryOptionCombo  bool              `json:"requireCategoryOptionCombo"`
	RequireAttributeOptionCombo bool              `json:"requireAttributeOptionCombo"`
	SkipPatternValidation       bool              `json:"skipPatternValidation"`
	IgnoreEmptyCollection       bool              `json:"ignoreEmptyCollection"`
	Force                       bool              `json:"force"`
	FirstRowIsHeader            bool              `json:"firstRowIsHeader"`
	SkipLastUpdated             bool              `json:"skipLastUpdated"`
	MergeDataValues             bool              `json:"mergeDataValues"`
	SkipCache                   bool              `json:"skipCache"`
}

// strategies by all their names.
var strategies = map[string]string{"": "CREATE_AND_UPDATE", "CREATE_AND_UPDATE": "CREATE_AND_UPDATE", "NEW_AND_UPDATES": "CREATE_AND_UPDATE",
	"CREATE": "CREATE", "NEW": "CREATE", "UPDATE": "UPDATE", "UPDATES": "UPDATE", "DELETE": "DELETE", "DELETES": "DELETE", "SYNC": "SYNC"}

// optionsOf reads the parameters of an import.
func optionsOf(r *request) *importOptions {
	o := &importOptions{IDSchemes: map[string]string{}, DryRun: r.is("dryRun"), Async: r.is("async"), MergeMode: "REPLACE", ReportMode: "FULL",
		SkipExistingCheck: r.is("skipExistingCheck"), SkipAudit: r.is("skipAudit"), StrictPeriods: r.is("strictPeriods"), StrictDataElements: r.is("strictDataElements"),
		StrictCategoryOptionCombos: r.is("strictCategoryOptionCombos"), StrictAttributeOptionCombos: r.is("strictAttributeOptionCombos"),
		StrictOrganisationUnits: r.is("strictOrganisationUnits"), StrictDataSetApproval: r.is("strictDataSetApproval"),
		StrictDataSetLocking: r.is("strictDataSetLocking"), StrictDataSetInputPeriods: r.is("strictDataSetInputPeriods"),
		RequireCategoryOptionCombo: r.is("requireCategoryOptionCombo"), RequireAttributeOptionCombo: r.is("requireAttributeOptionCombo"),
		Force: r.is("force"), FirstRowIsHeader: r.get("firstRowIsHeader") != "false"}
	for _, k := range []string{"idScheme", "dataElementIdScheme", "orgUnitIdScheme", "categoryOptionComboIdScheme", "dataSetIdScheme", "attributeOptionComboIdScheme"} {
		if v := r.get(k); v != "" {
			o.IDSchemes[k] = v
		}
	}
	strategy := r.get("importStrategy")
	if strategy == "" {
		strategy = r.get("strategy")
	}
	o.ImportStrategy = strategies[strings.ToUpper(strategy)]
	return o
}

// scheme is the id scheme for one kind of object.
func (o *importOptions) scheme(which string) string {
	if v := o.IDSchemes[which]; v != "" {
		return v
	}
	return o.IDSchemes["idScheme"]
}

type importCount struct {
	Imported int `json:"imported"`
	Updated  int `json:"updated"`
	Ignored  int `json:"ignored"`
	Deleted  int `json:"deleted"`
}

// conflict is why values were refused; those of one reason share one.
type conflict struct {
	Object  string         `json:"object,omitempty"`
	Objects map[string]any `json:"objects,omitempty"`
	Value   string         `json:"value"`
	Code    string         `json:"errorCode,omitempty"`
	Prop    string         `json:"property,omitempty"`
	Indexes []int          `json:"indexes,omitempty"`
}

// summary is an ImportSummary.
type summary struct {
	ResponseType string         `json:"responseType"`
	Status       string         `json:"status"`
	Options      *importOptions `json:"importOptions,omitempty"`
	Description  string         `json:"description,omitempty"`
	Count        importCount    `json:"importCount"`
	Conflicts    []*conflict    `json:"conflicts"`
	Rejected     *[]int         `json:"rejectedIndexes,omitempty"` // 2.39
	Complete     string         `json:"dataSetComplete,omitempty"`

	byReason map[string]*conflict
}

func (s *Server) newSummary(o *importOptions) *summary {
	sum := &summary{ResponseType: "ImportSummary", Status: "SUCCESS", Options: o, Conflicts: []*conflict{}, byReason: map[string]*conflict{}}
	if s.since(39) {
		sum.Rejected = &[]int{}
	}
	return sum
}

// object is what a conflict names, in the order that its code has them.
type object struct{ kind, id string }

// conflict makes one; the arguments of its text are the objects' ids, but that
// a key of a translation is put in words.
func (s *Server) conflict(code string, objects ...object) *conflict {
	c := &conflict{Code: code, Objects: map[string]any{}}
	t := codes()
	c.Prop = t.property[code]
	var args []string
	for i, o := range objects {
		arg := o.id
		if o.kind == "value" {
			if words := t.i18n[o.id]; words != "" {
				arg = words
			}
		}
		args = append(args, arg)
		c.Objects[o.kind] = o.id
		if o.id == "null" {
			c.Objects[o.kind] = nil
		} else if i == 0 {
			c.Object = o.id
		}
	}
	switch code {
	case "E7600", "E7601", "E7602":
		c.Prop = "dataSet"
	case "E7603":
		c.Prop = "orgUnit"
	case "E7604":
		c.Prop = "attributeOptionCombo"
	case "E7622":
		c.Prop = "orgUnit"
	}
	c.Value = s.text(t.data, code, args...)
	return c
}

// reject refuses the value at an index.
func (sum *summary) reject(c *conflict, index int) {
	key := c.Code + "\x00" + c.Value
	if known := sum.byReason[key]; known != nil {
		c = known
	} else {
		sum.byReason[key] = c
		sum.Conflicts = append(sum.Conflicts, c)
	}
	c.Indexes = append(c.Indexes, index)
	sum.ignore(index)
}

// ignore counts a value that was not written and names its index.
func (sum *summary) ignore(index int) {
	sum.Count.Ignored++
	if sum.Rejected != nil && !slices.Contains((*sum.Rejected)[max(len(*sum.Rejected)-1, 0):], index) {
		*sum.Rejected = append(*sum.Rejected, index)
	}
}

// abort refuses everything.
func (sum *summary) abort(why ...*conflict) *summary {
	sum.Status, sum.Description, sum.Count, sum.Complete = "ERROR", "Import process was aborted", importCount{}, ""
	sum.Conflicts = why
	return sum
}

// broken is an import that ended in an exception.
func (s *Server) broken(why string) *summary {
	sum := s.newSummary(nil)
	sum.Status, sum.Description = "ERROR", "The import process failed: "+why
	return sum
}

// summaryAnswer puts a summary in the envelope with its HTTP status; up to 2.41
// the API's numbers below 38 have neither.
func (s *Server) summaryAnswer(sum *summary, plain bool) answer {
	if plain {
		return ok(sum)
	}
	switch sum.Status {
	case "SUCCESS":
		return envelope(http.StatusOK, "OK", "Import was successful.", sum)
	case "WARNING":
		return envelope(http.StatusConflict, "WARNING", "One more conflicts encountered, please check import summary.", sum)
	}
	return envelope(http.StatusConflict, "ERROR", "An error occurred, please check import summary.", sum)
}
