// Package extra is in no rule.
package extra // want "layers: docs/layers.txt does not name the folder extra: add the line"
