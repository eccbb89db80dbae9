package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// newGetCommand stands in for curl.
func newGetCommand() *cobra.Command {
	var ca string
	command := &cobra.Command{
		Use:          "get URL",
		Short:        "print what a URL answers; fail unless it is 200",
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE:         func(_ *cobra.Command, args []string) error { return get(args[0], ca) },
	}
	command.Flags().StringVar(&ca, "ca", "", "file with the certificate of the only CA that is trusted")
	return command
}

func get(url, ca string) error {
	client := http.Client{Timeout: 5 * time.Second}
	if ca != "" {
		certificate, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certificate)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
