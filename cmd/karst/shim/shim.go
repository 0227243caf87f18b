// Package shim answers under the names of Kafka's scripts: it takes their flags and prints what they
// print, byte for byte, so that scripts written for Apache Kafka go on working. The formats are those
// of org.apache.kafka.tools (TopicCommand, ConsoleProducer, ConsoleConsumer) in Kafka 4.3. Options that
// only tune the Java client's buffers are taken and have no effect; it refuses those that name Java
// classes.
package shim

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/karst-stream/karst/cmd/karst/link"
)

// Script is one of Kafka's.
type Script struct {
	Name  string // kafka-topics.sh
	Word  string // of `karst kafka WORD`
	Short string
	run   func(ctx context.Context, s *streams, o *options) int
	flags flagSet
}

// streams are where a script reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Scripts lists what is answered, in order of name.
func Scripts() []Script { return []Script{consumerScript, producerScript, topicsScript} }

// find accepts a script's name also without its .sh, as some distributions install it.
func find(name string) (Script, bool) {
	for _, s := range Scripts() {
		if name == s.Name || name == strings.TrimSuffix(s.Name, ".sh") {
			return s, true
		}
	}
	return Script{}, false
}

// Known says whether a program of this name is one of the scripts.
func Known(name string) bool { _, ok := find(name); return ok }

// Run is the script: its exit status is the one of Kafka's.
func Run(ctx context.Context, name string, args []string) int {
	s, ok := find(name)
	if !ok {
		fmt.Fprintf(os.Stderr, "%s is none of the scripts that karst knows\n", name)
		return 1
	}
	return s.start(ctx, &streams{os.Stdin, os.Stdout, os.Stderr}, args)
}

func (s Script) start(ctx context.Context, st *streams, args []string) int {
	o, err := s.flags.parse(args)
	switch {
	case err != nil:
		fmt.Fprintln(st.err, err)
		s.flags.usage(st.err)
		return 1
	case o.has("help") || len(args) == 0:
		fmt.Fprintln(st.err, s.Short)
		s.flags.usage(st.err)
		if len(args) == 0 {
			return 1
		}
		return 0
	case o.has("version"):
		fmt.Fprintln(st.out, "4.3.1 (karst)")
		return 0
	case !o.has("bootstrap-server"):
		fmt.Fprintln(st.err, `Missing required argument "[bootstrap-server]"`)
		s.flags.usage(st.err)
		return 1
	}
	return s.run(ctx, st, o)
}

// flagSet says which options there are, and which take a value.
type flagSet map[string]bool

// common are the options of every script.
var common = flagSet{"help": false, "version": false, "bootstrap-server": true, "command-config": true}

func with(sets ...flagSet) flagSet {
	out := flagSet{}
	for _, s := range sets {
		for name, value := range s {
			out[name] = value
		}
	}
	return out
}

// options are the parsed ones; each may be given several times.
type options struct{ given map[string][]string }

func (o *options) has(name string) bool { return len(o.given[name]) > 0 }

func (o *options) all(name string) []string { return o.given[name] }

// text is the last value given.
func (o *options) text(name string) string {
	if v := o.given[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// parse reads --name value, --name=value and switches, as joptsimple does for Kafka.
func (f flagSet) parse(args []string) (*options, error) {
	o := &options{given: map[string][]string{}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		name, ok := strings.CutPrefix(word, "--")
		if !ok {
			return nil, fmt.Errorf("%s is not a recognized option", strings.TrimLeft(word, "-"))
		}
		name, value, joined := strings.Cut(name, "=")
		takes, known := f[name]
		switch {
		case !known:
			return nil, fmt.Errorf("%s is not a recognized option", name)
		case !takes && joined:
			return nil, fmt.Errorf("Option %s does not accept an argument", name)
		case takes && !joined:
			if len(args) == 0 {
				return nil, fmt.Errorf("Option %s requires an argument", name)
			}
			value, args = args[0], args[1:]
		}
		o.given[name] = append(o.given[name], value)
	}
	return o, nil
}

func (f flagSet) usage(w io.Writer) {
	var names []string
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(w, "Option")
	fmt.Fprintln(w, "------")
	for _, name := range names {
		if f[name] {
			fmt.Fprintf(w, "--%s <value>\n", name)
			continue
		}
		fmt.Fprintf(w, "--%s\n", name)
	}
}

// target is the cluster that the options name.
func (o *options) target() link.Target { return link.Target{Bootstrap: o.text("bootstrap-server")} }

// properties reads key=value options of some names; of each file that an option names, its lines.
func (o *options) properties(names ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		given := o.all(name)
		if strings.HasSuffix(name, "-config") || strings.HasSuffix(name, ".config") {
			var lines []string
			for _, path := range given {
				b, err := os.ReadFile(path)
				if err != nil {
					return nil, err
				}
				for line := range strings.Lines(string(b)) {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						lines = append(lines, line)
					}
				}
			}
			given = lines
		}
		for _, kv := range given {
			k, v, ok := strings.Cut(kv, "=")
			if !ok {
				return nil, fmt.Errorf("Invalid command line properties: %s", kv)
			}
			out[strings.TrimSpace(k)] = v
		}
	}
	return out, nil
}

// deprecated says of options given what Kafka 4.3 says of them; pairs are an option and its successor.
func (o *options) deprecated(w io.Writer, format string, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if o.has(pairs[i]) {
			fmt.Fprintf(w, format+"\n", pairs[i], pairs[i+1])
		}
	}
}

// uuid is a topic id as Java's tools show it.
func uuid(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
