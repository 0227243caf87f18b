package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core/config"
)

type docPage struct {
	Page string `json:"page"`
	What string `json:"what"`
	Text string `json:"text,omitempty"`
}

func newDocs() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:     "docs [CODE|KEY|configs|errors]",
		Short:   "Explain an error code or a configuration key, offline",
		Example: "  karst docs K0142\n  karst docs min.insync.replicas\n  karst docs configs",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return catalogue.BadArgument.New("karst docs takes one page at a time").Try(c.UseLine())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"errors"}
			}
			page, err := findPage(args[0])
			if err != nil {
				return err
			}
			if list, ok := page.([]docPage); ok {
				return out.print(c, list, func(w io.Writer) {
					var tb table
					for _, p := range list {
						tb.row(p.Page, p.What)
					}
					tb.write(w)
				})
			}
			p := page.(docPage)
			return out.print(c, p, func(w io.Writer) { fmt.Fprint(w, p.Text) })
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			names := []string{"configs", "errors"}
			for _, e := range catalogue.All() {
				names = append(names, e.Code+"\t"+e.What)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	out.register(c)
	return c
}

// findPage is one page, or the list of pages of a kind.
func findPage(name string) (any, error) {
	switch strings.ToLower(name) {
	case "errors":
		var list []docPage
		for _, e := range catalogue.All() {
			list = append(list, docPage{Page: e.Code, What: e.What})
		}
		return list, nil
	case "configs":
		return docPage{Page: "configs", What: "every configuration key", Text: config.Markdown()}, nil
	}
	if e, ok := catalogue.Find(name); ok {
		var b strings.Builder
		e.Explain(&b)
		return docPage{Page: e.Code, What: e.What, Text: b.String()}, nil
	}
	var b strings.Builder
	if k, ok := config.LookupTopic(name); ok {
		explainKey(&b, k)
		return docPage{Page: k.Name, What: k.Documentation(), Text: b.String()}, nil
	}
	if k, ok := config.LookupBroker(name); ok {
		explainKey(&b, k)
		return docPage{Page: k.Name, What: k.Documentation(), Text: b.String()}, nil
	}
	e := catalogue.NoSuchCode.New("there is no page %q", name)
	if near := config.Nearest(name, config.Topic); near != "" {
		return nil, e.Try("did you mean `karst docs "+near+"`?", "karst docs        to list the pages")
	}
	if near := config.Nearest(name, config.Cluster); near != "" {
		return nil, e.Try("did you mean `karst docs "+near+"`?", "karst docs        to list the pages")
	}
	return nil, e
}

func explainKey(w io.Writer, k *config.Key) {
	fmt.Fprintf(w, "%s  (%s, %s)\n\n  %s\n\n", k.Name, k.Scope, strings.TrimSpace(k.Type.String()+" "+k.Unit), k.Documentation())
	value := k.Default
	if k.Null {
		value = "none"
	}
	fmt.Fprintf(w, "  default: %s\n", value)
	if rule := k.Valid.String(); rule != "" {
		fmt.Fprintf(w, "  values:  %s\n", rule)
	}
	if len(k.Kafka) > 0 {
		fmt.Fprintf(w, "  also:    %s\n", strings.Join(k.Kafka, ", "))
	}
	if k.Scope != config.Topic {
		fmt.Fprintf(w, "  env:     %s\n", k.Env())
	}
	if k.Flag != "" {
		fmt.Fprintf(w, "  flag:    --%s\n", k.Flag)
	}
}
