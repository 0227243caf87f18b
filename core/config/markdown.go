package config

import "strings"

// Markdown is the reference page: every key, sorted by name, topics first.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Generated from the table in `core/config`; do not edit.\n\n" +
		"A key of a node stands in `karst.yaml`, in the environment or behind its flag. Keys of the cluster may stand\n" +
		"there too, and are changed while it runs by `IncrementalAlterConfigs` on brokers; keys of a topic are given when\n" +
		"it is created and changed the same way. Keys marked *not yet* are accepted, but nothing acts on them;\n" +
		"nothing ever will on those marked *no effect*, and their text says why.\n")
	section(&b, "Topics", topics.keys, func(k *Key) bool { return true })
	section(&b, "Cluster", brokers.keys, func(k *Key) bool { return k.Scope == Cluster })
	section(&b, "Nodes", brokers.keys, func(k *Key) bool { return k.Scope == Node })
	return b.String()
}

func section(b *strings.Builder, title string, keys []*Key, in func(*Key) bool) {
	b.WriteString("\n## " + title + "\n")
	for _, k := range keys {
		if !in(k) {
			continue
		}
		b.WriteString("\n### `" + k.Name + "`\n\n" + k.Doc + "\n\n")
		item := func(name, value string) {
			if value != "" {
				b.WriteString("- " + name + ": " + value + "\n")
			}
		}
		item("type", strings.TrimSpace(k.Type.String()+" "+k.Unit))
		if k.Null {
			item("default", "none")
		} else {
			item("default", "`"+k.Default+"`")
		}
		item("values", k.Valid.String())
		if k.Scope == Topic {
			item("default comes from", strings.Join(k.Kafka, ", "))
		} else {
			item("also called", strings.Join(k.Kafka, ", "))
			item("environment", "`"+k.Env()+"`")
		}
		if k.Flag != "" {
			item("flag", "`--"+k.Flag+"`")
		}
		if k.State == NotYet {
			item("state", "*not yet*")
		} else if k.State == Moot {
			item("state", "*no effect*")
		}
		if k.Restart {
			item("change", "needs a restart")
		}
		item("since", k.Since)
	}
}
