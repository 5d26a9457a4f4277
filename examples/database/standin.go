package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// standIn stands in for a database: database/sql and the code above it are the real ones. The
// pure-Go drivers of real databases would bring more code than all other examples together, or
// need a server.
//
// It is a driver whose every query asks for the value of a name.
type standIn struct {
	values map[string]string // by name; is not changed
	query  func()            // is called in every query, and takes as long as that takes
}

// Connect implements driver.Connector.
func (s standIn) Connect(context.Context) (driver.Conn, error) { return standInConn{s}, nil }

// Driver implements driver.Connector.
func (s standIn) Driver() driver.Driver { return standInDriver{} }

type standInDriver struct{}

var errUseOpenDB = errors.New("the stand-in has no data source names: use sql.OpenDB")

// Open implements driver.Driver.
func (standInDriver) Open(string) (driver.Conn, error) { return nil, errUseOpenDB }

// standInConn is a connection to the database.
type standInConn struct{ db standIn }

var errOnlyQueries = errors.New("the stand-in has neither prepared statements nor transactions")

// Prepare implements driver.Conn.
func (standInConn) Prepare(string) (driver.Stmt, error) { return nil, errOnlyQueries }

// Begin implements driver.Conn.
func (standInConn) Begin() (driver.Tx, error) { return nil, errOnlyQueries }

// Close implements driver.Conn.
func (standInConn) Close() error { return nil }

// QueryContext implements driver.QueryerContext.
func (c standInConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("%d arguments for %q: the stand-in takes one, a name", len(args), query)
	}
	c.db.query()
	name, _ := args[0].Value.(string)
	value, found := c.db.values[name]
	return &standInRows{value: value, left: found}, nil
}

// standInRows is the result of a query: one row, or none.
type standInRows struct {
	value string
	left  bool // the row was not returned yet
}

// Columns implements driver.Rows.
func (*standInRows) Columns() []string { return []string{"value"} }

// Close implements driver.Rows.
func (*standInRows) Close() error { return nil }

// Next implements driver.Rows.
func (r *standInRows) Next(row []driver.Value) error {
	if !r.left {
		return io.EOF
	}
	r.left = false
	row[0] = r.value
	return nil
}
