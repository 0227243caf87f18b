package main

import (
	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/shim"
)

// newKafka gives Kafka's scripts as commands: karst kafka topics is kafka-topics.sh.
func newKafka() *cobra.Command {
	c := parent("kafka", "Kafka's own scripts, with their flags and output")
	for _, s := range shim.Scripts() {
		c.AddCommand(&cobra.Command{
			Use:                s.Word,
			Short:              s.Name + ": " + s.Short,
			DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error {
				return interruptible(c, func(c *cobra.Command) error {
					if status := shim.Run(c.Context(), s.Name, args); status != int(catalogue.Done) {
						return exitStatus(status)
					}
					return nil
				})
			},
		})
	}
	return c
}
