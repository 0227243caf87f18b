package main

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const layersFile = "docs/layers.txt"

// rule is one line of layers.txt but a ladder: what the folders (or the one file) named on its left
// may or may not import.
type rule struct {
	verb   string // import, test, never, std, nostd
	who    []string
	things []string
}

// step is a folder's place on a ladder.
type step struct{ ladder, rung int }

type layerRules struct {
	rules []rule
	steps map[string]step
}

// readLayers reads docs/layers.txt, whose head describes its lines.
func readLayers(dir string) (*layerRules, error) {
	body, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(layersFile)))
	if err != nil {
		return nil, err
	}
	r := &layerRules{steps: map[string]step{}}
	ladders := 0
	for i, line := range strings.Split(string(body), "\n") {
		line, _, _ = strings.Cut(line, "#")
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "":
		case "ladder":
			for rung, folders := range strings.Split(rest, "<") {
				for _, f := range strings.Fields(folders) {
					r.steps[f] = step{ladders, rung}
				}
			}
			ladders++
		case "import", "test", "never", "std", "nostd":
			who, things, ok := strings.Cut(rest, ":")
			if !ok || len(strings.Fields(who)) == 0 {
				return nil, fmt.Errorf("%s:%d: want %q", layersFile, i+1, verb+" FOLDER.. : THING..")
			}
			r.rules = append(r.rules, rule{verb, strings.Fields(who), strings.Fields(things)})
		default:
			return nil, fmt.Errorf("%s:%d: unknown word %q: one of ladder, import, test, never, std, nostd",
				layersFile, i+1, verb)
		}
	}
	return r, nil
}

// matches says whether pattern ("a/b", "a/b/...") names folder.
func matches(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return pattern == folder
}

// outside says whether an import path is of a module that is not ours; the standard library has no
// dot before its first slash.
func outside(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

func (r *layerRules) about(s *source, verb string) (things []string, any bool) {
	for _, l := range r.rules {
		if l.verb != verb {
			continue
		}
		for _, who := range l.who {
			if matches(who, s.folder) || who == s.path {
				things, any = append(things, l.things...), true
				break
			}
		}
	}
	return things, any
}

// known says whether any line names the folder as one that imports.
func (r *layerRules) known(s *source) bool {
	_, ok := r.steps[s.folder]
	_, imports := r.about(s, "import")
	return ok || imports
}

// covers says whether what is granted by name includes path: a folder of ours by pattern, a module
// with all that lies below it.
func covers(granted []string, path string) bool {
	return slices.ContainsFunc(granted, func(g string) bool {
		return matches(g, path) || outside(path) && strings.HasPrefix(path, g+"/")
	})
}

// grants lists what s may import beside the standard library and its own folder.
func (r *layerRules) grants(s *source) []string {
	out, _ := r.about(s, "import")
	if s.test {
		more, _ := r.about(s, "test")
		out = append(out, more...)
	}
	if at, ok := r.steps[s.folder]; ok {
		for f, other := range r.steps {
			if other.ladder == at.ladder && other.rung < at.rung {
				out = append(out, f)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// layers refuses imports that docs/layers.txt does not grant.
func layers(t *tree, r *layerRules) {
	unknown := map[string]bool{}
	for _, s := range t.files {
		if !r.known(s) {
			if !unknown[s.folder] {
				t.refuse(s.ast.Name.Pos(), "layers", "%s does not name the folder %s: add the line "+
					"`import %s : ...` with what it may import", layersFile, s.folder, s.folder)
			}
			unknown[s.folder] = true
			continue
		}
		for _, spec := range s.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil || path == "C" {
				t.refuse(spec.Pos(), "layers", "import %s: write it in Go", spec.Path.Value)
				continue
			}
			t.layer(r, s, spec, path)
		}
	}
}

// layer judges one import.
func (t *tree) layer(r *layerRules, s *source, spec *ast.ImportSpec, path string) {
	name, ours := strings.CutPrefix(path, t.module+"/")
	switch {
	case path == t.module:
		name, ours = ".", true
		fallthrough
	case ours:
		never, _ := r.about(s, "never")
		switch {
		case name == s.folder: // a test of its own package, from outside
		case covers(never, name):
			t.refuse(spec.Pos(), "layers", "%s never imports %s (%s): let the caller hand it in as a value "+
				"or an interface", s.folder, name, layersFile)
		case !covers(r.grants(s), name):
			t.refuse(spec.Pos(), "layers", "%s may not import %s (%s): move what both need below them, or "+
				"let the caller hand it in; allowed: %s", s.folder, name, layersFile, list(r.grants(s), false))
		}
	case outside(path):
		if !covers(r.grants(s), path) {
			t.refuse(spec.Pos(), "layers", "%s may not import the outside module %s (%s): write it by hand, or do "+
				"it where the dependency budget allows it; allowed: %s", s.folder, path, layersFile,
				list(r.grants(s), true))
		}
	case !s.test:
		t.std(r, s, spec, path)
	}
}

// std judges an import of the standard library by code that is no test.
func (t *tree) std(r *layerRules, s *source, spec *ast.ImportSpec, path string) {
	allowed, limited := r.about(s, "std")
	banned, _ := r.about(s, "nostd")
	if limited && !slices.Contains(allowed, path) || slices.Contains(banned, path) {
		instead := instead[path]
		if instead == "" {
			instead = "let the driver do it, and hand the result in as an event"
		}
		t.refuse(spec.Pos(), "layers", "%s may not import %q (%s): %s", s.folder, path, layersFile, instead)
	}
}

// instead names the replacement for packages that deciding code must not import.
var instead = map[string]string{
	"context":      "an operation ends by an event or a det.Timer",
	"crypto/rand":  "draw from a det.Rand that is handed in",
	"hash/maphash": "use det.Hash, which is the same in every process",
	"log":          "give out a Note effect; the driver logs",
	"log/slog":     "give out a Note effect; the driver logs",
	"maps":         "use det.Map, or keep a sorted slice beside the map",
	"math/rand":    "draw from a det.Rand that is handed in",
	"math/rand/v2": "draw from a det.Rand that is handed in",
	"net":          "give out a SendPeer or SendConn effect",
	"os":           "give out a disk effect, or read it before the first step",
	"reflect":      "write the cases out",
	"runtime":      "nothing that decides may depend on the machine",
	"sync":         "one goroutine owns a shard: no lock is needed; share by mail",
	"sync/atomic":  "one goroutine owns a shard: a plain field will do",
	"time":         "time is an argument: core.Now, core.Mono for durations, core.Wall for records",
	"unsafe":       "use encoding/binary",
}

// list prints what is granted: outside modules, or folders of ours.
func list(granted []string, modules bool) string {
	var out []string
	for _, g := range granted {
		if outside(g) == modules {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}
