package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func karst() { os.Exit(run()) }

// programs are what this test binary is under other names.
var programs = map[string]func(){
	"karst":                     karst,
	"kafka-topics.sh":           karst,
	"kafka-console-producer.sh": karst,
	"kafka-console-consumer.sh": karst,
	"demo-in-a-hurry":           hurriedDemo,
}

// TestMain lets scripts run karst, and itself under the names of Kafka's scripts, as programs.
func TestMain(m *testing.M) { testscript.Main(m, programs) }

// TestScripts runs every command line in testdata/script. -update rewrites the golden output.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
			return nil
		},
		Cmds: commands,
	})
}
