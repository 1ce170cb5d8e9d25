#!/usr/bin/ruby
# client: the steps of dalli; see README.md.
#
# usage: ruby client.rb PART OPTIONS SERVERS [USER PASSWORD]
# options: gzip namespace
require 'dalli'
require 'json'

PART, options, servers, USER, PASSWORD = ARGV
OPTIONS = options.split('+')
SERVERS = servers.split(',')
LARGE = (0...1_000_000).map { |number| number * number % 251 }.pack('C*')
$stdout.sync = true

def step(name, answer, remark = nil)
  answer = { true => 'yes', false => 'no', nil => 'none' }.fetch(answer, answer)
  puts [name, answer].join(' ') + (remark ? "\t#{remark}" : '')
end

def same(name, answer, wanted)
  step(name, answer == wanted ? 'same' : "not the same: #{answer.to_s[0, 60]}")
end

# dalli answers the new cas when it has stored, 0 for a missing key, false for a refusal.
def stored(name, answer)
  step(name, answer.is_a?(Integer) ? answer.positive? : answer)
end

# A step that the library answers with an error.
def refused(name)
  step(name, yield ? true : false)
rescue Dalli::DalliError, ArgumentError => e
  step(name, false, "#{e.class} #{e.message}")
end

def connect(**more)
  options = { raise_errors: true, socket_timeout: 60, value_max_bytes: 10 << 20, username: USER, password: PASSWORD }
  options[:compress] = OPTIONS.include?('gzip')
  options[:namespace] = 'shop' if OPTIONS.include?('namespace')
  Dalli::Client.new(SERVERS, options.merge(more))
end

RAW = { raw: true }.freeze # bytes as they are; else dalli stores marshalled objects

def one_key(dc)
  step('flush', dc.flush.all?)
  step('version', dc.version.values.first[/\A[\d.]+/])
  step('get-absent', dc.get('k'))
  stored('set', dc.set('k', 'hello', 0, RAW))
  step('get', dc.get('k', RAW))
  dc.set('empty', '', 0, RAW)
  same('empty', dc.get('empty', RAW), '')
  stored('add-present', dc.add('k', 'other', 0, RAW))
  stored('add-absent', dc.add('k2', 'other', 0, RAW))
  stored('replace-present', dc.replace('k', 'hello', 0, RAW))
  stored('replace-absent', dc.replace('k3', 'other', 0, RAW))
  step('append', dc.append('k', '>'))
  step('prepend', dc.prepend('k', '<'))
  step('joined', dc.get('k', RAW))
  stored('append-absent', dc.append('k3', '>'))
  stored('prepend-absent', dc.prepend('k3', '<'))
  step('delete', dc.delete('k'))
  step('delete-again', dc.delete('k') || false)
  step('deleted', dc.get('k'))
end

def counting(dc)
  dc.set('n', '10', 0, RAW)
  step('incr', dc.incr('n', 5))
  step('decr', dc.decr('n', 1))
  step('incr-absent', dc.incr('n2', 1) || false)
  step('incr-initial', dc.incr('n3', 5, 0, 7))
  step('decr-initial', dc.decr('n4', 5, 0, 7))
  step('decr-floor', dc.decr('n', 100))
  dc.set('n', '10', 0, RAW)
  dc.decr('n', 1)
  step('decr-padded', "[#{dc.get('n', RAW)}]")
  dc.set('n', (2**64 - 1).to_s, 0, RAW)
  step('incr-wraps', dc.incr('n', 5))
  dc.set('n', 'ten', 0, RAW)
  refused('incr-text') { dc.incr('n', 1) }
end

def compare_and_swap(dc)
  dc.set('c', 'first')
  _, cas = dc.get_cas('c')
  stored('cas', dc.set_cas('c', 'second', cas))
  step('cas-value', dc.get('c'))
  stored('cas-stale', dc.set_cas('c', 'other', cas))
  stored('cas-absent', dc.set_cas('c2', 'other', cas))
  stored('cas-update', dc.cas('c') { |value| value == 'second' ? 'third' : value })
  step('cas-updated', dc.get('c'))
  step('cas-delete-stale', dc.delete_cas('c', cas) || false)
end

def many(dc)
  %w[a b c].each_with_index { |key, index| dc.set(key, index + 1) }
  found = dc.get_multi('a', 'absent', 'c')
  step('multi-get', found.sort.map { |key, value| "#{key}=#{value}" }.join(' '))
  step('multi-get-none', dc.get_multi('absent', 'absent2').size)
  step('multi-get-cas', dc.get_multi_cas('a', 'b', 'absent', 'c').count { |_, pair| pair[1] > 0 })
  values = (0...1000).to_h { |number| ["many-#{number}", "value #{number}"] }
  dc.multi { values.each { |key, value| dc.set(key, value) } } # quiet opcodes
  found = dc.get_multi(values.keys)
  step('multi-get-1000', values.count { |key, value| found[key] == value })
end

def values(dc)
  dc.set('large', LARGE, 0, RAW.merge(compress: false))
  same('large', dc.get('large', RAW), LARGE)
  refused('too-large') { dc.set('large', LARGE * 3, 0, RAW.merge(compress: false)) }
  step('too-large-dropped', dc.get('large', RAW))
  dc.set('k', 'hello')
  step('after-too-large', dc.get('k'))
  dc.set('compressed', 'again and ' * 300_000, 0, compress: true)
  same('compressed', dc.get('compressed'), 'again and ' * 300_000)
  object = { list: [1, 2.5, nil], text: 'grüße' }
  dc.set('object', object)
  same('object', dc.get('object'), object)
  dc.set('number', 42)
  step('number', dc.get('number'))
  dc.set('utf8', 'grüße ☃')
  same('utf8', dc.get('utf8'), 'grüße ☃')
  bytes = (0..255).to_a.pack('C*') * 4
  dc.set('bytes', bytes, 0, RAW)
  same('bytes', dc.get('bytes', RAW), bytes)
  keys(dc)
end

def keys(dc)
  # Longer keys are hashed by dalli; with a namespace, less fits.
  key = 'k' * (OPTIONS.include?('namespace') ? 245 : 250)
  step('key-250', dc.set(key, 'x') ? dc.get(key) == 'x' : false)
  step('key-utf8', dc.set('clé-☃', 'x') ? dc.get('clé-☃') == 'x' : false)
  step('key-binary', dc.set("a b\r\nc\0d", 'x') ? dc.get("a b\r\nc\0d") == 'x' : false)
  connect(namespace: 'shop').set('k', 'prefixed')
  same('prefix', connect(namespace: nil).get('shop:k'), 'prefixed')
end

def time(dc)
  dc.set('k', 'hello')
  step('touch', dc.touch('k', 100))
  step('touch-absent', dc.touch('absent', 100) || false)
  step('touched', dc.get('k'))
  step('gat', dc.gat('k', 100))
  step('gat-absent', dc.gat('absent', 100))
  dc.set('future', 'hello', 2_592_000)
  step('future', dc.get('future'))
  dc.set('future', 'hello', Time.now.to_i + 3_000_000)
  step('future-date', dc.get('future'))
  step('flush-again', dc.flush.all?)
  step('flushed', dc.get('k'))
end

# Inside multi, dalli sends the quiet opcodes.
def silence(dc)
  dc.multi { 100.times { |number| dc.set("quiet-#{number}", number) } }
  step('quiet-set', 100.times.count { |number| dc.get("quiet-#{number}") == number })
  dc.set('n', '10', 0, RAW)
  dc.multi { dc.delete('quiet-1') }
  step('quiet-delete', dc.get('quiet-1'))
  dc.multi { dc.replace('quiet-1', 'x') }
  step('quiet-replace-absent', dc.get('quiet-1'))
  dc.set('k', 'hello')
  dc.multi { dc.add('k', 'other') }
  step('quiet-add-present', dc.get('k'))
end

def server(dc)
  stats = dc.stats.values.first
  step('stats', stats['pid'].to_i.positive? && stats['cmd_get'].to_i.positive?)
  step('stats-settings', dc.stats(:settings).values.first['maxbytes'].to_i == 64 << 20)
  step('stats-items', dc.stats(:items).values.first.keys.any? { |key| key.start_with?('items:') })
  step('stats-slabs', dc.stats(:slabs).values.first.key?('active_slabs'))
  step('stats-reset', dc.reset_stats.all?)
end

def lines_of(text)
  lines = JSON.parse(text)['lines'].map { |line| "#{line['line']}=#{line['qty']}" }
  lines.empty? ? 'no lines' : lines.join(' ')
end

def cart(dc, cart = 'cart:u1')
  step('cart-absent', dc.get(cart))
  step('cart-incr-absent', dc.incr("#{cart}/SKU-1/qty", 1) || false)
  stored('cart-add', dc.add("#{cart}/SKU-1", '2', 0, RAW))
  stored('cart-add-again', dc.add("#{cart}/SKU-1", '7', 0, RAW))
  step('cart-incr', dc.incr("#{cart}/SKU-1/qty", 3))
  step('cart-decr', dc.decr("#{cart}/SKU-1/qty", 1))
  step('cart-qty', dc.get("#{cart}/SKU-1/qty"))
  line = { qty: 3, price: 1999, currency: 'EUR', ext: 'grüße' }.to_json
  stored('cart-set', dc.set("#{cart}/SKU-2", line, 0, RAW))
  line = JSON.parse(dc.get("#{cart}/SKU-2"))
  currency = JSON.parse(dc.get(cart))['currency']
  step('cart-line', "#{line['qty']} x #{line['price']} #{currency} #{line['ext']}")
  step('cart-lines', lines_of(dc.get(cart)))
  stored('cart-replace', dc.replace("#{cart}/SKU-2", '8', 0, RAW))
  stored('cart-replace-absent', dc.replace("#{cart}/SKU-3", '8', 0, RAW))
  dc.set('plain', 'a plain value')
  found = dc.get_multi(cart, 'cart:absent', 'plain')
  step('cart-multi-get', "#{lines_of(found[cart])} and #{found['plain']}")
  change_whole(dc, cart)
  refused('cart-append') { dc.append(cart, 'x') }
  refused('cart-no-number') { dc.incr(cart, 1) }
  refused('cart-no-document') { dc.set(cart, 'no document', 0, RAW) }
  step('cart-touch', dc.touch(cart, 1000))
  step('cart-gat', lines_of(dc.gat(cart, 1000)))
  end_cart(dc, cart)
end

def change_whole(dc, cart)
  text, cas = dc.get_cas(cart)
  dc.set("#{cart}/SKU-3", '1', 0, RAW)
  stored('cart-cas-stale', dc.set_cas(cart, text, cas, 0, RAW))
  text, cas = dc.get_cas(cart)
  whole = JSON.parse(text)
  whole['lines'] = [whole['lines'][0].merge('qty' => 9)]
  stored('cart-cas', dc.set_cas(cart, whole.to_json, cas, 0, RAW))
  step('cart-cas-lines', lines_of(dc.get(cart)))
end

def end_cart(dc, cart)
  dc.set("#{cart}/SKU-2", '1', 0, RAW)
  step('cart-remove', dc.delete("#{cart}/SKU-2"))
  step('cart-remove-again', dc.delete("#{cart}/SKU-2") || false)
  step('cart-removed', dc.get("#{cart}/SKU-2/qty"))
  dc.set("#{cart}/SKU-4", '1', 0, RAW)
  dc.set("#{cart}/SKU-4/qty", '0', 0, RAW)
  step('cart-by-zero', dc.get("#{cart}/SKU-4"))
  dc.flush
  step('cart-after-flush', lines_of(dc.get(cart)))
  step('cart-decr-to-zero', dc.decr("#{cart}/SKU-1/qty", 9))
  step('cart-empty', lines_of(dc.get(cart)))
  dc.multi { 150.times { |number| dc.set("#{cart}/SKU-#{number}", '2', 0, RAW) } }
  whole = JSON.parse(dc.get(cart))
  step('cart-large', "#{whole['count']} lines, #{whole['qty']} pieces")
  step('cart-delete', dc.delete(cart))
  step('cart-delete-again', dc.delete(cart) || false)
  step('cart-deleted', dc.get(cart))
  stored('cart-left', dc.set('cart:left/SKU-1', '2', 0, RAW))
end

def ring(dc)
  values = (0...300).to_h { |number| ["ring-#{number}", number.to_s] }
  step('ring-put', values.count { |key, value| dc.set(key, value, 0, RAW) }) if PART == 'ring'
  found = dc.get_multi(values.keys)
  step('ring-get', values.count { |key, value| found[key] == value })
end

def login(dc)
  refused('login') { dc.set('k', 'hello') }
  step('login-get', dc.get('k'))
rescue Dalli::DalliError
  step('login-get', false)
end

Dalli.logger.level = Logger::ERROR
dc = connect
case PART
when 'plain'
  %i[one_key counting compare_and_swap many values time silence server].each { |do_| send(do_, dc) }
when 'cart' then cart(dc)
when 'ring', 'ring-get' then ring(dc)
when 'login' then login(dc)
end
