#!/usr/bin/perl
# client: the steps of Cache::Memcached::Fast; see README.md.
#
# usage: perl client.pl PART OPTIONS SERVERS
# options: nowait ketama namespace
use strict;
use warnings;
use utf8;
use Cache::Memcached::Fast;
use Data::Dumper;
use JSON::PP;

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;
my ($part, $options, $servers) = @ARGV;
my %has = map { $_ => 1 } split /\+/, $options;
my $large = substr join('', map { chr($_ % 251) x 3 } 1 .. 333334), 0, 1000000;

sub step {
    my ($name, $answer) = @_;
    print "$name ", $answer // 'none', "\n";
}

# True for STORED and the like, false (but defined) for a refusal, undefined for an error.
sub yes {
    my ($name, $answer) = @_;
    step($name, $answer ? 'yes' : defined $answer ? 'no' : "no\terror");
}

sub same {
    my ($name, $answer, $wanted) = @_;
    step($name, defined $answer && $answer eq $wanted ? 'same' : 'other');
}

sub connect_with {
    return Cache::Memcached::Fast->new({
        servers => [split /,/, $servers],
        nowait => $has{nowait} ? 1 : 0,
        ketama_points => $has{ketama} ? 150 : 0,
        namespace => $has{namespace} ? 'shop:' : '',
        connect_timeout => 60, # a slow machine changes nothing
        io_timeout => 60,
        max_size => 10 << 20,
        compress_threshold => -1,
        utf8 => 1,
        @_,
    });
}

sub do_one_key {
    my $mc = shift;
    yes('flush', (values %{$mc->flush_all})[0]);
    step('version', (values %{$mc->server_versions})[0] =~ s/[^\d.].*//r);
    step('get-absent', $mc->get('k'));
    yes('set', $mc->set('k', 'hello'));
    step('get', $mc->get('k'));
    $mc->set('empty', '');
    same('empty', $mc->get('empty'), '');
    yes('add-present', $mc->add('k', 'other'));
    yes('add-absent', $mc->add('k2', 'other'));
    yes('replace-present', $mc->replace('k', 'hello'));
    yes('replace-absent', $mc->replace('k3', 'other'));
    yes('append', $mc->append('k', '>'));
    yes('prepend', $mc->prepend('k', '<'));
    step('joined', $mc->get('k'));
    yes('append-absent', $mc->append('k3', '>'));
    yes('prepend-absent', $mc->prepend('k3', '<'));
    yes('delete', $mc->delete('k'));
    yes('delete-again', $mc->delete('k'));
    step('deleted', $mc->get('k'));
}

sub do_counting {
    my $mc = shift;
    $mc->set('n', '10');
    step('incr', $mc->incr('n', 5));
    step('decr', $mc->decr('n', 1));
    yes('incr-absent', $mc->incr('n2', 1));
    step('decr-floor', $mc->decr('n', 100) + 0);
    $mc->set('n', '10');
    $mc->decr('n', 1);
    step('decr-padded', '[' . $mc->get('n') . ']');
    $mc->set('n', '18446744073709551615');
    step('incr-wraps', $mc->incr('n', 5));
    $mc->set('n', '0');
    step('incr-big', $mc->incr('n', 18446744073709551615));
    $mc->set('n', 'ten');
    yes('incr-text', $mc->incr('n', 1));
}

sub do_cas {
    my $mc = shift;
    $mc->set('c', 'first');
    my ($cas) = @{$mc->gets('c')};
    yes('cas', $mc->cas('c', $cas, 'second'));
    step('cas-value', $mc->get('c'));
    yes('cas-stale', $mc->cas('c', $cas, 'other'));
    yes('cas-absent', $mc->cas('c2', $cas, 'other'));
}

sub do_many {
    my $mc = shift;
    my @set = $mc->set_multi(['a', 1], ['b', 2], ['c', 3]);
    yes('multi-set', (grep { $_ } @set) == 3);
    my $found = $mc->get_multi('a', 'absent', 'c');
    step('multi-get', join ' ', map { "$_=$found->{$_}" } sort keys %$found);
    step('multi-get-none', scalar keys %{$mc->get_multi('absent', 'absent2')});
    step('multi-get-cas', scalar grep { $_->[0] } values %{$mc->gets_multi(qw(a b absent c))});
    yes('multi-add', (grep { $_ } $mc->add_multi(['a', 1], ['b', 2])) == 2);
    yes('multi-delete', (grep { $_ } $mc->delete_multi('a', 'b', 'c')) == 3);
    step('multi-deleted', scalar keys %{$mc->get_multi('a', 'b', 'c')});
    my %values = map { ("many-$_" => "value $_") } 0 .. 999;
    $mc->set_multi(map { [$_, $values{$_}] } keys %values);
    $found = $mc->get_multi(keys %values);
    step('multi-get-1000', scalar grep { $found->{$_} eq $values{$_} } keys %values);
}

sub do_values {
    my $mc = shift;
    $mc->set('large', $large);
    same('large', $mc->get('large'), $large);
    yes('too-large', $mc->set('large', $large x 3));
    step('too-large-dropped', $mc->get('large'));
    $mc->set('k', 'hello');
    step('after-too-large', $mc->get('k'));
    my $packed = connect_with(compress_threshold => 1000);
    $packed->set('compressed', $large x 3);
    same('compressed', $packed->get('compressed'), $large x 3);
    my $object = {list => [1, 2.5, undef], text => 'grüße'};
    $mc->set('object', $object);
    local $Data::Dumper::Sortkeys = 1;
    same('object', Dumper($mc->get('object')), Dumper($object));
    $mc->set('number', 42);
    step('number', $mc->get('number'));
    $mc->set('utf8', 'grüße ☃');
    same('utf8', $mc->get('utf8'), 'grüße ☃');
    my $bytes = join('', map { chr } 0 .. 255) x 4;
    $mc->set('bytes', $bytes);
    same('bytes', $mc->get('bytes'), $bytes);
    my $key = 'k' x ($has{namespace} ? 245 : 250);
    $mc->set($key, 'x');
    yes('key-250', $mc->get($key) eq 'x');
    yes('key-251', $mc->set('k' x 251, 'x'));
    $mc->set('clé-☃', 'x');
    yes('key-utf8', $mc->get('clé-☃') eq 'x');
    connect_with(namespace => 'shop:')->set('k', 'prefixed');
    same('prefix', connect_with(namespace => '')->get('shop:k'), 'prefixed');
}

sub do_time {
    my $mc = shift;
    $mc->set('k', 'hello');
    yes('touch', $mc->touch('k', 100));
    yes('touch-absent', $mc->touch('absent', 100));
    step('touched', $mc->get('k'));
    step('gat', $mc->gat(100, 'k'));
    step('gat-absent', $mc->gat(100, 'absent'));
    $mc->set('past', 'x', -1);
    step('past', $mc->get('past'));
    $mc->set('past', 'x', 1000000000);
    step('past-date', $mc->get('past'));
    $mc->set('future', 'hello', 2592000);
    step('future', $mc->get('future'));
    $mc->set('future', 'hello', time + 3000000);
    step('future-date', $mc->get('future'));
    $mc->touch('future', -1);
    step('touch-past', $mc->get('future'));
    $mc->flush_all(1000);
    step('flush-later', $mc->get('k'));
    yes('flush-again', (values %{$mc->flush_all})[0]);
    step('flushed', $mc->get('k'));
}

# In void context with nowait the library sends noreply and goes on.
sub do_silence {
    my $mc = connect_with(nowait => 1);
    $mc->set("quiet-$_", $_) for 0 .. 99;
    $mc->nowait_push;
    step('quiet-set', scalar grep { $mc->get("quiet-$_") eq $_ } 0 .. 99);
    $mc->set('q', '<');
    $mc->append('q', '<');
    $mc->nowait_push;
    step('quiet-append', $mc->get('q'));
    $mc->set('n', '10');
    $mc->incr('n', 5);
    $mc->decr('n', 3);
    $mc->nowait_push;
    step('quiet-count', $mc->get('n'));
    $mc->delete('q');
    $mc->nowait_push;
    step('quiet-delete', $mc->get('q'));
    $mc->replace('q', 'x');
    $mc->prepend('q', 'x');
    $mc->nowait_push;
    step('quiet-replace-absent', $mc->get('q'));
    $mc->set('k', 'hello');
    $mc->add('k', 'other');
    $mc->nowait_push;
    step('quiet-add-present', $mc->get('k'));
    $mc->flush_all;
    $mc->nowait_push;
    step('quiet-flush', $mc->get('k'));
}

sub lines_of {
    my $whole = decode_json(shift);
    return join(' ', map { "$_->{line}=$_->{qty}" } @{$whole->{lines}}) || 'no lines';
}

sub do_cart {
    my ($mc, $cart) = (shift, 'cart:u1');
    step('cart-absent', $mc->get($cart));
    yes('cart-incr-absent', $mc->incr("$cart/SKU-1/qty", 1));
    yes('cart-add', $mc->add("$cart/SKU-1", 2));
    yes('cart-add-again', $mc->add("$cart/SKU-1", 7));
    step('cart-incr', $mc->incr("$cart/SKU-1/qty", 3));
    step('cart-decr', $mc->decr("$cart/SKU-1/qty", 1));
    step('cart-qty', $mc->get("$cart/SKU-1/qty"));
    my $line = '{"qty":3,"price":1999,"currency":"EUR","ext":"grüße"}';
    yes('cart-set', $mc->set("$cart/SKU-2", $line));
    $line = decode_json($mc->get("$cart/SKU-2"));
    my $currency = decode_json($mc->get($cart))->{currency};
    step('cart-line', "$line->{qty} x $line->{price} $currency $line->{ext}");
    step('cart-lines', lines_of($mc->get($cart)));
    yes('cart-replace', $mc->replace("$cart/SKU-2", 8));
    yes('cart-replace-absent', $mc->replace("$cart/SKU-3", 8));
    $mc->set('plain', 'a plain value');
    my $found = $mc->get_multi($cart, 'cart:absent', 'plain');
    step('cart-multi-get', lines_of($found->{$cart}) . " and $found->{plain}");
    change_whole($mc, $cart);
    yes('cart-append', $mc->append($cart, 'x'));
    yes('cart-no-number', $mc->incr($cart, 1));
    yes('cart-no-document', $mc->set($cart, 'no document'));
    yes('cart-touch', $mc->touch($cart, 1000));
    step('cart-gat', lines_of($mc->gat(1000, $cart)));
    end_cart($mc, $cart);
}

sub change_whole {
    my ($mc, $cart) = @_;
    my ($cas, $text) = @{$mc->gets($cart)};
    $mc->set("$cart/SKU-3", 1);
    yes('cart-cas-stale', $mc->cas($cart, $cas, $text));
    ($cas, $text) = @{$mc->gets($cart)};
    my $whole = decode_json($text);
    $whole->{lines} = [{%{$whole->{lines}[0]}, qty => 9}];
    yes('cart-cas', $mc->cas($cart, $cas, encode_json($whole)));
    step('cart-cas-lines', lines_of($mc->get($cart)));
}

sub end_cart {
    my ($mc, $cart) = @_;
    $mc->set("$cart/SKU-2", 1);
    yes('cart-remove', $mc->delete("$cart/SKU-2"));
    yes('cart-remove-again', $mc->delete("$cart/SKU-2"));
    step('cart-removed', $mc->get("$cart/SKU-2/qty"));
    $mc->set("$cart/SKU-4", 1);
    $mc->set("$cart/SKU-4/qty", 0);
    step('cart-by-zero', $mc->get("$cart/SKU-4"));
    $mc->flush_all;
    step('cart-after-flush', lines_of($mc->get($cart)));
    step('cart-decr-to-zero', $mc->decr("$cart/SKU-1/qty", 9) + 0);
    step('cart-empty', lines_of($mc->get($cart)));
    $mc->set_multi(map { ["$cart/SKU-$_", 2] } 0 .. 149);
    my $whole = decode_json($mc->get($cart));
    step('cart-large', "$whole->{count} lines, $whole->{qty} pieces");
    yes('cart-delete', $mc->delete($cart));
    yes('cart-delete-again', $mc->delete($cart));
    step('cart-deleted', $mc->get($cart));
    yes('cart-left', $mc->set('cart:left/SKU-1', 2));
}

sub do_ring {
    my $mc = shift;
    my %values = map { ("ring-$_" => $_) } 0 .. 299;
    step('ring-put', scalar grep { $_ } $mc->set_multi(map { [$_, $values{$_}] } keys %values))
        if $part eq 'ring';
    my $found = $mc->get_multi(keys %values);
    step('ring-get', scalar grep { $found->{$_} eq $values{$_} } keys %values);
}

my $mc = connect_with();
if ($part eq 'plain') {
    $_->($mc) for (\&do_one_key, \&do_counting, \&do_cas, \&do_many, \&do_values, \&do_time,
                   \&do_silence);
} elsif ($part eq 'cart') {
    do_cart($mc);
} else {
    do_ring($mc);
}
