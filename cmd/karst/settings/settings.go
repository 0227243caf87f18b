// Package settings gathers what a node is told: by flags, KARST_* variables, a strict YAML file and
// the defaults of core/config's table, in that order of strength. It owns where a value came from and
// promises that an unknown key is an error that names its line and its nearest neighbour. It refuses
// to know keys of its own: the table is the only list.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core/config"
)

// Value is a setting with its origin, "flag --listen", "environment KARST_LISTEN", "karst.yaml:3".
type Value struct {
	Text string
	From string
}

// Values holds every setting that was given, under the name of its key in the table.
type Values struct{ given map[string]Value }

// Text is the value of a key: what was given, else the default of the table.
func (v *Values) Text(name string) string {
	if g, ok := v.given[name]; ok {
		return g.Text
	}
	if k, ok := config.LookupBroker(name); ok {
		return k.Default
	}
	return ""
}

// From says where a key's value came from; "default" when nobody gave it.
func (v *Values) From(name string) string {
	if g, ok := v.given[name]; ok {
		return g.From
	}
	return "default"
}

// Given says whether a key was set at all.
func (v *Values) Given(name string) bool { _, ok := v.given[name]; return ok }

// Configs are the given settings whose keys are the cluster's: what the node itself resolves.
func (v *Values) Configs() map[string]string {
	out := map[string]string{}
	for _, k := range config.BrokerKeys() {
		if g, ok := v.given[k.Name]; ok && (k.Scope != config.Node || k.Flag == "") {
			out[k.Name] = g.Text
		}
	}
	return out
}

// Warnings tell which given settings have no effect yet.
func (v *Values) Warnings() (lines []string) {
	for _, k := range config.BrokerKeys() {
		if g, ok := v.given[k.Name]; ok {
			if w := k.Warning(g.Text); w != "" {
				lines = append(lines, w)
			}
		}
	}
	return lines
}

// Sources are the places to read, besides the table.
type Sources struct {
	File  string                      // path of a YAML file; empty: none
	Env   func(string) (string, bool) // os.LookupEnv
	Flags []Flag                      // in the order given: the last of a key wins
}

// Flag is one setting of the command line.
type Flag struct{ Key, Value, Shown string }

// Load reads the sources, weakest first.
func Load(src Sources) (*Values, error) {
	v := &Values{given: map[string]Value{}}
	if src.File != "" {
		b, err := os.ReadFile(src.File)
		if err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, catalogue.BadFile.New("cannot read %s: %v", src.File, err).Wrap(err)
		}
		if err := v.file(src.File, b); err != nil {
			return nil, err
		}
	}
	for _, k := range config.BrokerKeys() {
		if text, ok := src.Env(k.Env()); ok {
			if err := v.set(k.Name, text, "environment "+k.Env()); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range src.Flags {
		if err := v.set(f.Key, f.Value, f.Shown); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Check reads one KEY=VALUE as the value of a --set flag.
func Check(pair string) (Flag, error) {
	key, value, ok := strings.Cut(pair, "=")
	if !ok || key == "" {
		return Flag{}, catalogue.BadFlag.New("--set %q is not KEY=VALUE", pair)
	}
	f := Flag{Key: key, Value: value, Shown: "--set " + key}
	scratch := Values{given: map[string]Value{}}
	return f, scratch.set(key, value, f.Shown)
}

func (v *Values) set(name, text, from string) error {
	k, ok := config.LookupBroker(name)
	if !ok {
		e := catalogue.UnknownKey.New("unknown configuration key %q (%s)", name, from)
		if near := config.Nearest(name, config.Cluster); near != "" {
			e.Try(fmt.Sprintf("did you mean %s?", near), "karst docs configs        to list the keys")
		}
		return e
	}
	parsed, err := k.Parse(text)
	if err != nil {
		return catalogue.BadValue.New("%v", err).Because("from " + from).Wrap(err)
	}
	v.given[k.Name] = Value{Text: parsed, From: from}
	return nil
}

// file reads a flat mapping of keys to scalars or lists of scalars.
func (v *Values) file(path string, b []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty, or comments only
		}
		return catalogue.BadFile.New("%s is not YAML: %s", path, strings.TrimPrefix(err.Error(), "yaml: ")).Wrap(err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return catalogue.BadFile.New("%s:%d: expected KEY: VALUE lines", path, root.Line)
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		text, err := scalar(val)
		if err != nil {
			return catalogue.BadFile.New("%s:%d: %s: %v", path, val.Line, key.Value, err)
		}
		from := fmt.Sprintf("%s:%d", path, key.Line)
		if err := v.set(key.Value, text, from); err != nil {
			return err
		}
		k, _ := config.LookupBroker(key.Value)
		if first := lines[k.Name]; first != 0 {
			return catalogue.BadFile.New("%s: %s is given twice", from, key.Value).
				Because(fmt.Sprintf("first on line %d", first))
		}
		lines[k.Name] = key.Line
	}
	return nil
}

// scalar is the text of a value as it stands in the file; a list is joined by commas.
func scalar(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", nil
		}
		return n.Value, nil
	case yaml.AliasNode:
		return scalar(n.Alias)
	case yaml.SequenceNode:
		parts := make([]string, len(n.Content))
		for i, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return "", errors.New("a list of plain values is expected")
			}
			parts[i] = c.Value
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("a plain value or a list is expected, not a nested mapping")
}
