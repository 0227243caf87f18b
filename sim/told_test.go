package sim

import (
	"testing"

	"github.com/karst-stream/karst/checker"
)

// In a world with every load that tells of something, every judge has something to judge.
func TestEveryJudgeHears(t *testing.T) {
	p, err := ParsePlan(`seed 3
for 16s
load produce 4
load group 2
load drifters 4
load readers 1
load topics 2
load offsets 1
load statics 2
load watchers 2
load hasty 1
fault 3s kill n1 for 500ms
fault 6s cut n2 for 2s`)
	if err != nil {
		t.Fatal(err)
	}
	prepare(Options{})
	w := newWorld(p, Options{}, karst)
	w.play()
	if w.failed {
		t.Fatal(w.result.Violation)
	}
	heard := map[string]int{}
	w.told.Objects(func(o *checker.Object) {
		n := len(o.Register) + len(o.Cell)
		if o.Ordered != nil {
			n += len(o.Ordered.Steps) + len(o.Ordered.Seens)
		}
		heard[o.ID] += n
	})
	for _, id := range []string{"L1", "L2", "L3", "A21", "A22"} {
		if heard[id] < 10 {
			t.Errorf("%s has %d operations to judge", id, heard[id])
		}
	}
	v, err := w.told.Finish()
	if err != nil || v.Sends == 0 || v.Records == 0 || w.told.Log.Scans == 0 {
		t.Errorf("%+v: %v", v, err)
	}
	if w.fleet.Counts.Late == 0 {
		t.Error("nobody committed in a generation that was over")
	}
}

// What fits no order is found, and a search that is given up is a failure of its own.
func TestTopicsAndSettingsAreSearched(t *testing.T) {
	prepare(Options{})
	for want, tell := range map[string]func(add func(checker.Kind, func(*checker.Op))){
		"": func(add func(checker.Kind, func(*checker.Op))) {
			add(checker.CreateTopic, func(o *checker.Op) { o.Count = 2 })
			add(checker.Metadata, func(o *checker.Op) { o.Exists, o.Count = true, 2 })
		},
		"L2": func(add func(checker.Kind, func(*checker.Op))) {
			add(checker.CreateTopic, func(o *checker.Op) { o.Count = 2 })
			add(checker.Metadata, func(*checker.Op) {})
		},
		"L3": func(add func(checker.Kind, func(*checker.Op))) {
			add(checker.AlterConfig, func(o *checker.Op) { o.Value = "1" })
			add(checker.DescribeConfig, func(*checker.Op) {})
		},
		"search": func(add func(checker.Kind, func(*checker.Op))) {
			for range searchedAtOnce + 1 {
				add(checker.DescribeConfig, func(o *checker.Op) { o.Call = 0 })
			}
		},
	} {
		w := newWorld(Swarm(1, 0, minute), Options{}, karst)
		now := int64(0)
		tell(func(k checker.Kind, set func(*checker.Op)) {
			o := checker.NewOp(k)
			o.Topic, o.Resource, o.Key, o.Call, o.Done = "a", "topic a", "retention.ms", now+1, now+2
			now += 2
			set(&o)
			if err := w.told.Tell(&o); err != nil {
				t.Fatal(err)
			}
		})
		w.search()
		got := ""
		if v := w.result.Violation; v != nil {
			got = v.ID
		}
		if got != want {
			t.Errorf("%v was found, not %q", w.result.Violation, want)
		}
	}
}
