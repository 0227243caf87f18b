package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// record is Dir/dev.json: what a later run and the verbs must know.
type record struct {
	Version int    `json:"version"`
	Nodes   int    `json:"nodes"`
	FirstID int32  `json:"first_node_id"`
	Remove  bool   `json:"remove"`
	Socket  string `json:"socket"`
}

func readRecord(dir string) (record, bool, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if errors.Is(err, os.ErrNotExist) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && r.Version != 1 {
		err = fmt.Errorf("format %d, known is 1", r.Version)
	}
	if err != nil {
		return r, false, catalogue.BadFile.New("cannot read %s: %v", filepath.Join(dir, "dev.json"), err).
			Try("give another directory with --data")
	}
	return r, true, nil
}

func (r record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "dev.json"), append(b, '\n'), 0o644)
}

// socketPath is where the supervisor of dir is reached. A unix socket's path is limited to about 100
// bytes, so a deep directory gets one among the temporary files, named after it.
func socketPath(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	if p := filepath.Join(abs, "dev.sock"); len(p) < 100 {
		return p
	}
	sum := sha256.Sum256([]byte(abs))
	name := "karst-" + hex.EncodeToString(sum[:8]) + ".sock"
	if p := filepath.Join(os.TempDir(), name); len(p) < 100 {
		return p
	}
	return filepath.Join("/tmp", name)
}

// lockDir makes the directory and takes its lock, waiting for what is left of a killed run.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, catalogue.BadFile.New("cannot make the data directory: %v", err).Wrap(err).
			Try("give another directory with --data")
	}
	f, err := os.OpenFile(filepath.Join(dir, "dev.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, catalogue.BadFile.New("cannot use the data directory: %v", err).Wrap(err).
			Try("give another directory with --data")
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if running(dir) || time.Since(began) > lockPatience {
			f.Close()
			return nil, catalogue.DevBusy.New("another karst dev uses %s", dir)
		}
	}
}

// running says whether a supervisor answers on the directory's socket.
func running(dir string) bool {
	c, err := Dial(dir)
	if err != nil {
		return false
	}
	_, err = c.Status()
	return err == nil
}

// merge completes the spec by what the directory holds, and refuses what contradicts it.
func (s *Spec) merge() error {
	r, there, err := readRecord(s.Dir)
	if err != nil {
		return err
	}
	if there && s.Remove && !r.Remove {
		return catalogue.Contradiction.New("--rm would delete the cluster that %s holds", s.Dir).
			Try("leave --rm away", "give another directory with --data")
	}
	if s.Nodes == 0 {
		s.Nodes = max(r.Nodes, len(s.Ports), 1)
	}
	if s.FirstID < 0 {
		s.FirstID = 1
		if there {
			s.FirstID = r.FirstID
		}
	}
	if there && (r.Nodes != s.Nodes || r.FirstID != s.FirstID) {
		return catalogue.Contradiction.New("%s holds a cluster of %d nodes from id %d, not of %d from id %d",
			s.Dir, r.Nodes, r.FirstID, s.Nodes, s.FirstID).
			Try(fmt.Sprintf("karst dev -n %d --first-node-id %d --data %s", r.Nodes, r.FirstID, s.Dir),
				"give another directory with --data")
	}
	if len(s.Ports) > 0 && len(s.Ports) != s.Nodes {
		return catalogue.Contradiction.New("%d nodes, but %d ports", s.Nodes, len(s.Ports)).
			Try("give as many --ports as nodes")
	}
	return nil
}

// clear removes what this cluster made, and the directory when nothing else is in it.
func (s *Spec) clear() {
	for i := range s.Nodes {
		name := fmt.Sprintf("n%d", s.FirstID+int32(i))
		os.RemoveAll(filepath.Join(s.Dir, name))
		os.Remove(filepath.Join(s.Dir, name+".log"))
	}
	for _, f := range []string{"dev.json", "dev.lock"} {
		os.Remove(filepath.Join(s.Dir, f))
	}
	os.Remove(s.Dir)
}
