# DBD::Pg as a script of an administrator uses it: typed parameters, generated keys, metadata, transactions, COPY.

use strict;
use warnings;
use DBD::Pg qw(:pg_types);
use DBI qw(:sql_types);

my $port = $ARGV[0];
my $options = { RaiseError => 1, PrintError => 0, AutoCommit => 1 };
my $db = DBI->connect("dbi:Pg:host=127.0.0.1;port=$port;dbname=postgres", "postgres", "", $options);
my $failed = 0;

# Runs a step; prints its name.
sub step {
    my ($name, $body) = @_;
    return print "ok $name\n" if eval { $body->(); 1 };
    print "FAILED $name: $@\n";
    $failed = 1;
}

sub is {
    my ($found, $expected) = @_;
    my @place = caller;
    die "line $place[2]: got $found, expected $expected\n" unless $found eq $expected;
}

step "defines and writes" => sub {
    $db->do("CREATE TABLE notes (id SERIAL PRIMARY KEY, name VARCHAR(30) NOT NULL, n NUMERIC(10,2), ok BOOLEAN, tags TEXT[], body BYTEA, at TIMESTAMPTZ DEFAULT now())");
    my $insert = $db->prepare("INSERT INTO notes (name, n, ok, tags) VALUES (?, ?, ?, ?)");
    $insert->execute("a", 10.25, 1, [ "x", "y z" ]);
    is $db->last_insert_id(undef, undef, "notes", undef), 1;
    $insert->execute("b", undef, 0, []);
    is $db->selectrow_array("INSERT INTO notes (name) VALUES (?) RETURNING id", {}, "c"), 3;
    my $bytes = $db->prepare("INSERT INTO notes (name, body) VALUES ('bytes', ?)");
    $bytes->bind_param(1, "\0\1\xff", { pg_type => PG_BYTEA });
    $bytes->execute;
    is $insert->execute_array({ ArrayTupleStatus => [] }, [ "e", "f" ], [ 1, 2 ], [ 1, 1 ], undef), 2;
};

step "reads" => sub {
    my $row = $db->selectrow_hashref("SELECT * FROM notes WHERE id = ?", {}, 1);
    is "$row->{n} $row->{ok} $row->{tags}[1]", "10.25 1 y z";
    is $db->selectrow_array("SELECT body FROM notes WHERE name = 'bytes'"), "\0\1\xff";
    is scalar @{ $db->selectall_arrayref('SELECT name FROM notes WHERE id = ANY ($1)', {}, [ 1, 2 ]) }, 2;
    my $named = $db->prepare("SELECT id, name, n FROM notes WHERE name = :name OR n > :least");
    $named->bind_param(":name", "a");
    $named->bind_param(":least", 5, SQL_NUMERIC);
    $named->execute;
    is join(" ", @{ $named->{pg_type} }[ 0, 2 ]), "int4 numeric";
    is scalar @{ $named->fetchall_arrayref }, 1;
    is $db->selectrow_array("SELECT count(*) FROM notes WHERE at > ?", {}, "2020-01-01"), 6;
};

step "reflects" => sub {
    is scalar @{ $db->table_info(undef, "public", "notes", "TABLE")->fetchall_arrayref }, 1;
    my $columns = $db->column_info(undef, "public", "notes", "%")->fetchall_arrayref({});
    is join(" ", map { "$_->{COLUMN_NAME}:$_->{NULLABLE}" } @$columns[ 0 .. 2 ]), "id:0 name:0 n:1";
    is join(" ", $db->primary_key(undef, "public", "notes")), "id";
    is $db->ping, 1;
};

step "keeps transactions" => sub {
    $db->begin_work;
    $db->do("DELETE FROM notes");
    $db->pg_savepoint("before");
    $db->do("INSERT INTO notes (name) VALUES ('gone')");
    $db->pg_rollback_to("before");
    $db->rollback;
    is $db->selectrow_array("SELECT count(*) FROM notes"), 6;
    eval { $db->do("INSERT INTO notes (id, name) VALUES (1, 'again')") };
    is $db->state, "23505";
};

step "copies" => sub {
    $db->do("COPY notes (name) FROM STDIN");
    $db->pg_putcopydata("$_\n") for "k1", "k2";
    $db->pg_putcopyend;
    $db->do("COPY notes (name) TO STDOUT");
    my ($line, $n_lines) = ("", 0);
    $n_lines++ while $db->pg_getcopydata($line) >= 0;
    is $n_lines, 8;
    $db->do("DROP TABLE notes");
};

$db->disconnect;
exit $failed;
