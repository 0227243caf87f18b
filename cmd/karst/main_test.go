package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run karst, and itself under the names of Kafka's scripts, as programs.
func TestMain(m *testing.M) {
	command := func() { os.Exit(run()) }
	testscript.Main(m, map[string]func(){
		"karst":                     command,
		"kafka-topics.sh":           command,
		"kafka-console-producer.sh": command,
		"kafka-console-consumer.sh": command,
	})
}

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
