package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/karst-stream/karst/cmd/karst/link"
)

// Completion asks the cluster for names, for at most completionTime, and believes an answer for
// completionAge.
const (
	completionTime = 300 * time.Millisecond
	completionAge  = 5 * time.Second
)

func completeTopics(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(c, "topics", func(ctx context.Context, adm *kadm.Client) ([]string, error) {
		all, err := adm.ListTopics(ctx)
		return all.Names(), err
	})
}

func completeGroups(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(c, "groups", func(ctx context.Context, adm *kadm.Client) ([]string, error) {
		all, err := adm.ListGroups(ctx)
		return all.Groups(), err
	})
}

func completeGroupFlag(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return completeGroups(c, args, word)
}

func completeNames(c *cobra.Command, kind string, ask func(context.Context, *kadm.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	bootstrap, err := c.Flags().GetString("bootstrap-server")
	if err != nil {
		return nil, directive
	}
	path := cachePath(kind, bootstrap)
	if names, ok := cached(path); ok {
		return names, directive
	}
	t := link.Target{Bootstrap: bootstrap, Timeout: completionTime}
	ctx, cancel := t.Context(context.Background())
	defer cancel()
	adm, err := t.Admin(ctx)
	if err != nil {
		return nil, directive
	}
	defer adm.Close()
	names, err := ask(ctx, adm)
	if err != nil {
		return nil, directive
	}
	if b, err := json.Marshal(names); err == nil && path != "" {
		os.MkdirAll(filepath.Dir(path), 0o700)
		os.WriteFile(path, b, 0o600)
	}
	return names, directive
}

func cachePath(kind, bootstrap string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	h := fnv.New64a()
	h.Write([]byte(bootstrap))
	return filepath.Join(dir, "karst", fmt.Sprintf("%s-%x.json", kind, h.Sum64()))
}

func cached(path string) ([]string, bool) {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > completionAge {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	var names []string
	return names, json.Unmarshal(b, &names) == nil
}
