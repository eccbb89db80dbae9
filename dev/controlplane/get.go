package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// newGetCommand stands in for curl, which a new machine may lack.
func newGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:          "get URL",
		Short:        "print what a URL answers; fail unless it is 200",
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE: func(_ *cobra.Command, args []string) error {
			client := http.Client{Timeout: 5 * time.Second}
			response, err := client.Get(args[0])
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if _, err := io.Copy(os.Stdout, response.Body); err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", args[0], response.Status)
			}
			return nil
		},
	}
}
