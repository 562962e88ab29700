package flow

import "testing"

func TestFlowsOnPaperLoad(t *testing.T) {
	for _, dir := range []string{"i05-feed", "i04-reports", "i03-datasets"} {
		i, problems := Load("testdata/"+dir, fake(), nil)
		if len(problems) > 0 {
			t.Errorf("%s:\n%s", dir, problems)
		}
		if i == nil || len(i.Flows) != 1 {
			t.Errorf("%s: flows not read", dir)
		}
	}
}
