package posix

// CallKind is a system call that a disk may refuse.
type CallKind uint8

const (
	MakeDir   CallKind = iota + 1 // mkdir
	CreateNew                     // open with O_CREAT: the file may be there
	OpenFile                      // open of a file that was closed to save descriptors
	WriteAt                       // pwritev
	SetSize                       // ftruncate
	Reserve                       // fallocate
	SyncData                      // fdatasync or fsync of a file
	SyncDir                       // fsync of a directory
	ReadAt                        // pread
	Unlink                        // unlink of a file
	RemoveDir                     // rmdir
)

var callNames = [...]string{"?", "MakeDir", "CreateNew", "OpenFile", "WriteAt", "SetSize", "Reserve", "SyncData", "SyncDir", "ReadAt", "Unlink", "RemoveDir"}

func (k CallKind) String() string {
	if int(k) < len(callNames) {
		return callNames[k]
	}
	return "?"
}

// Call is one that is about to be made.
type Call struct {
	Dir  string // the data directory
	Kind CallKind
	Path string // slash-separated, below the data directory
	Off  int64  // WriteAt, Reserve, ReadAt: where; SetSize: the new size
	N    int64  // WriteAt, Reserve, ReadAt: how many bytes
}

// Fault makes a disk hostile: it is asked before each call that changes a file or reads one for a shard, from
// any goroutine. An error takes the place of the call, which a real device would have ended with it. Of a
// WriteAt or ReadAt the first n bytes arrive all the same; fewer than c.N without an error are a short call,
// after which the rest is asked for as another. (c.N, nil) lets the call through.
//
// What a socket takes from a file, and what a boot reads, it does not see: bytes that rot are better written
// into the file itself.
type Fault func(c Call) (n int64, err error)

// in is the fault that knows the data directory.
func (f Fault) in(dir string) Fault {
	if f == nil {
		return nil
	}
	return func(c Call) (int64, error) {
		c.Dir = dir
		return f(c)
	}
}

// ask puts a call before the fault, when there is one.
func (f Fault) ask(kind CallKind, path string, off, n int64) (int64, error) {
	if f == nil {
		return n, nil
	}
	m, err := f(Call{Kind: kind, Path: path, Off: off, N: n})
	if err == nil {
		m = max(m, 1) // no call ends well with nothing done
	}
	return max(0, min(m, n)), err
}

// writeAll is pwritev as the fault lets it through.
func (f Fault) writeAll(file *file, vec [][]byte, off int64) (total int64, err error) {
	if f == nil {
		return pwritev(file.fd, vec, off)
	}
	var rest []byte
	for _, b := range vec {
		rest = append(rest, b...)
	}
	for len(rest) > 0 {
		n, fault := f.ask(WriteAt, file.path, off+total, int64(len(rest)))
		m, err := pwritev(file.fd, [][]byte{rest[:n]}, off+total)
		if total += m; err != nil || fault != nil {
			return total, firstOf(fault, err)
		}
		rest = rest[m:]
	}
	return total, nil
}

// readAll is preadFull as the fault lets it through.
func (f Fault) readAll(file *file, b []byte, off int64) (total int, err error) {
	for {
		n, fault := f.ask(ReadAt, file.path, off+int64(total), int64(len(b)-total))
		m, err := preadFull(file.fd, b[total:total+int(n)], off+int64(total))
		total += m
		if err != nil || fault != nil || m < int(n) || total == len(b) {
			return total, firstOf(fault, err)
		}
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
