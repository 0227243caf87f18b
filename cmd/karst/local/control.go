package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// request and reply are one line of JSON each, over the unix socket in the cluster's directory.
type request struct {
	Verb string `json:"verb"`
	Node int32  `json:"node"`
}

type reply struct {
	Code    string   `json:"code,omitempty"` // of the catalogue; empty: done
	Message string   `json:"message,omitempty"`
	Try     []string `json:"try,omitempty"`
	Nodes   []Node   `json:"nodes"`
}

// serve answers the verbs of other processes until the socket is closed.
func (c *Cluster) serve() {
	for {
		conn, err := c.socket.Accept()
		if err != nil {
			return
		}
		go c.answer(conn)
	}
}

func (c *Cluster) answer(conn net.Conn) {
	defer conn.Close()
	var req request
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&req); err != nil {
		return
	}
	var out reply
	if req.Verb != "status" {
		if err := c.act(req.Verb, req.Node); err != nil {
			var known *catalogue.Error
			if !errors.As(err, &known) {
				known = catalogue.Internal.New("%v", err)
			}
			out.Code, out.Message, out.Try = known.Entry.Code, known.Message, known.Remedies()
		}
	}
	out.Nodes = c.Nodes()
	json.NewEncoder(conn).Encode(out)
}

// Client speaks to the supervisor of a directory from another process.
type Client struct {
	dir    string
	socket string
}

// Dial finds the supervisor of dir; the first request shows whether it runs.
func Dial(dir string) (*Client, error) {
	r, there, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, catalogue.DevAbsent.New("no karst dev runs on %s", dir)
	}
	return &Client{dir: dir, socket: r.Socket}, nil
}

// Status shows the nodes.
func (c *Client) Status() ([]Node, error) { return c.Do("status", All) }

// Do carries out a verb on a node (or All) and returns when its effect is there.
func (c *Client) Do(verb string, node int32) ([]Node, error) {
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return nil, catalogue.DevAbsent.New("no karst dev runs on %s", c.dir).Wrap(err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(request{Verb: verb, Node: node}); err != nil {
		return nil, catalogue.DevAbsent.New("the karst dev on %s went away", c.dir).Wrap(err)
	}
	var out reply
	if err := json.NewDecoder(conn).Decode(&out); err != nil {
		return nil, catalogue.DevAbsent.New("the karst dev on %s went away", c.dir).Wrap(err)
	}
	if out.Code != "" {
		entry, ok := catalogue.Find(out.Code)
		if !ok {
			entry = catalogue.Internal
		}
		return out.Nodes, entry.New("%s", out.Message).Try(out.Try...)
	}
	return out.Nodes, nil
}
