package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// outputVersion is the "version" of the JSON that commands print. Fields only get added; a change of
// what is there would raise it.
const outputVersion = 1

// output is the -o flag of a command that prints.
type output struct{ format string }

// register gives c the flag, and has an unknown format refused before anything is done.
func (o *output) register(c *cobra.Command) {
	c.PreRunE = func(*cobra.Command, []string) error { return o.check() }
	c.Flags().StringVarP(&o.format, "output", "o", "table", "table, json or yaml")
	c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"},
		cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) check() error {
	switch o.format {
	case "table", "json", "yaml":
		return nil
	}
	return catalogue.BadFlag.New("-o %s: the formats are table, json and yaml", o.format).Try("-o json")
}

// print shows data in the format that was asked for; asTable writes it for people.
func (o *output) print(c *cobra.Command, data any, asTable func(w io.Writer)) error {
	w := c.OutOrStdout()
	if o.format == "table" {
		asTable(w)
		return nil
	}
	whole := struct {
		Command string `json:"command"`
		Version int    `json:"version"`
		Data    any    `json:"data"`
	}{strings.TrimPrefix(c.CommandPath(), "karst "), outputVersion, data}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(whole); err != nil {
		return err
	}
	if o.format == "json" {
		_, err := w.Write(buf.Bytes())
		return err
	}
	return writeYAML(w, buf.Bytes())
}

// writeYAML rewrites JSON, which is YAML already, in YAML's block style; the order of fields stays.
func writeYAML(w io.Writer, js []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(js, &doc); err != nil {
		return err
	}
	plain(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

// table lines columns up: two spaces between them, none after the last.
type table struct{ rows [][]string }

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// joined shows node ids as Kafka's tools do: 1,2,3.
func joined(ids []int32) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = fmt.Sprint(id)
	}
	return strings.Join(parts, ",")
}

// count says "1 topic", "2 topics".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
