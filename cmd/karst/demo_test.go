package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/demo"
)

// hurried is a tempo in which every scene still happens while rows stream.
var hurried = demo.Tempo{Settle: time.Second, Dead: time.Second, After: 500 * time.Millisecond,
	Dark: 300 * time.Millisecond, Honest: 2 * time.Second, Lying: 30 * time.Second, Rows: 16_000, Rate: 4000}

// hurriedDemo is `karst demo` in a hurry, as a program for scripts. With the argument "robbed"
// somebody deletes the flights behind the demo's back.
func hurriedDemo() {
	program, err := os.Executable()
	if err != nil {
		os.Exit(report(err))
	}
	o := demo.Options{Nodes: 3, Program: program, Out: os.Stdout, Simulate: simulateForDemo, Tempo: hurried}
	if len(os.Args) > 1 && os.Args[1] == "robbed" {
		o.Out = &robber{out: os.Stdout}
	}
	os.Exit(report(demo.Run(context.Background(), o)))
}

// robber passes on what the demo says. When every row is stored and read, and before the verdict, he
// puts another topic in the place of the flights, in which a row stands twice and with another text.
type robber struct {
	out  io.Writer
	said bytes.Buffer
	done bool
}

var nodeAddress = regexp.MustCompile(`n1 at (\S+:\d+),`)

func (r *robber) Write(b []byte) (int, error) {
	r.said.Write(b)
	at := nodeAddress.FindSubmatch(r.said.Bytes())
	if !r.done && at != nil && bytes.Contains(r.said.Bytes(), []byte("seconds of simulator")) {
		r.done = true
		if err := rob(string(at[1])); err != nil {
			fmt.Fprintln(os.Stderr, "the robber failed:", err)
		}
	}
	return r.out.Write(b)
}

func rob(seed string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.DefaultProduceTopic("flights"))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.DeleteTopic(ctx, "flights"); err != nil {
		return err
	}
	if _, err := adm.CreateTopic(ctx, 6, 3, nil, "flights"); err != nil {
		return err
	}
	row := kgo.Record{Key: []byte("XXX"), Value: []byte("978307260000000,0,100,XXX,ORD"),
		Headers: []kgo.RecordHeader{{Key: "row", Value: []byte("0")}}}
	again := row
	return cl.ProduceSync(ctx, &row, &again).FirstErr()
}
