# Verify a callback of boomerang. Copy the functions; the standard library is all they need.
require "openssl"

TOLERANCE = 300 # seconds

# Whether webhook-signature holds: one of the secrets signed this body, its id and its time, at most 5 minutes from now.
#
# secrets: strings; headers: Rack's env, where webhook-id is HTTP_WEBHOOK_ID (in Rails: request.env; in Sinatra: env);
# body: the bytes as they came (request.body.read, before anything parses it); now: Unix seconds.
def verify(secrets, headers, body, now)
  timestamp = headers["HTTP_WEBHOOK_TIMESTAMP"].to_s
  return false unless timestamp.match?(/\A[0-9]+\z/) && (now - timestamp.to_i).abs <= TOLERANCE

  message = "#{headers["HTTP_WEBHOOK_ID"]}.#{timestamp}.".b + body.b
  signatures = headers["HTTP_WEBHOOK_SIGNATURE"].to_s.split
  secrets.any? do |secret|
    key = secret
    if secret.start_with?("whsec_")
      key = secret[6..].unpack1("m")
      next unless [key].pack("m0") == secret[6..] && key.bytesize.between?(24, 64) # else it is no key
    end
    expected = "v1," + [OpenSSL::HMAC.digest("SHA256", key, message)].pack("m0")
    signatures.any? { |signature| OpenSSL.secure_compare(signature, expected) } # in constant time, whatever the lengths
  end
end

# Whether X-HopX-Signature holds: one of the secrets signed this body, no matter when.
def verify_body(secrets, headers, body)
  signature = headers["HTTP_X_HOPX_SIGNATURE"].to_s
  secrets.any? do |secret|
    OpenSSL.secure_compare(signature, "sha256=" + OpenSSL::HMAC.hexdigest("SHA256", secret, body))
  end
end

# To try it, and for our tests: the body on standard input, the headers in the environment, the secrets as arguments. NOW
# stands for the clock.
if $PROGRAM_NAME == __FILE__
  body = $stdin.binmode.read
  now = Integer(ENV.fetch("NOW", Time.now.to_i))
  puts "webhook-signature #{verify(ARGV, ENV, body, now)}"
  puts "X-HopX-Signature #{verify_body(ARGV, ENV, body)}"
end
