// Package fake has none.
package fake

import "time" // want "layers: fake may not import .time."

func Now() time.Time { return time.Now() }
