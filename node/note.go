package node

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
)

// note logs a Note effect.
func (n *node) note(s core.ShardID, e *core.Effect) {
	level := slog.Level(e.N)
	if !n.log.Enabled(context.Background(), level) {
		return
	}
	msg, attrs := parseNote(e.Text)
	n.log.LogAttrs(context.Background(), level, msg, append(attrs, slog.Int("shard", int(s)))...)
}

// parseNote takes logfmt apart: key=value, values quoted as in Go when they hold blanks. What is no
// pair is kept as the message, so that nothing of a line is lost.
func parseNote(text string) (msg string, attrs []slog.Attr) {
	rest := strings.TrimSpace(text)
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \"") {
			return strings.TrimSpace(msg + " " + rest), attrs
		}
		value, tail := after, ""
		if q, err := strconv.QuotedPrefix(after); err == nil {
			value, _ = strconv.Unquote(q)
			tail = after[len(q):]
		} else {
			value, tail, _ = strings.Cut(after, " ")
		}
		if key == "msg" {
			msg = value
		} else {
			attrs = append(attrs, slog.String(key, value))
		}
		rest = strings.TrimSpace(tail)
	}
	return msg, attrs
}
