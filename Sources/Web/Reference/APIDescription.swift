import Crypto
import HTTPTypes
import Kernel
import NIOCore
import Synchronization

/// The API in words, for programs (OpenAPI 3.1) and for people (`/docs`), made from the endpoints' declarations.
package struct APIDescription: Sendable {
    private let document: Deferred<[UInt8]>
    private let page: Deferred<String>

    /// The OpenAPI document as JSON.
    package var openAPI: [UInt8] { document.value }

    package init(endpoints: [Endpoint], publicURL: String, version: String) {
        let listed = endpoints.filter(\.isListed)
        document = Deferred {
            OpenAPIDocument(endpoints: listed, publicURL: publicURL, version: version).json.bytes
        }
        page = Deferred { ReferencePage(endpoints: listed, publicURL: publicURL, version: version).html }
    }

    /// Where the description is served.
    var endpoints: [Endpoint] {
        [
            Endpoint.public(
                .get,
                "/api/v1/openapi.json",
                "The API description",
                responses: [],
                listed: false,
                use: ready("application/json") { [document] in ByteBuffer(bytes: document.value) }
            ),
            Endpoint.public(
                .get,
                "/docs",
                "The API reference",
                responses: [],
                listed: false,
                use: ready("text/html; charset=utf-8") { [page] in ByteBuffer(string: page.value) }
            ),
            Endpoint.public(
                .get,
                "/docs/style.css",
                "The reference's style sheet",
                responses: [],
                listed: false,
                use: ready("text/css; charset=utf-8") { ByteBuffer(string: referenceStyle) }
            ),
        ]
    }

    private func ready(
        _ contentType: String,
        _ content: @escaping @Sendable () -> ByteBuffer
    ) -> @Sendable (PublicCall) async -> Response {
        let response = Deferred {
            let bytes = content()
            let digest = SHA256.hash(data: Array(bytes.readableBytesView))
            let hash = digest.prefix(12).map { String($0, radix: 36) }.joined()
            return Response.bytes(bytes, contentType: contentType).with(tag: EntityTag(hash: hash))
                .with(.cacheControl, "public, max-age=300")
        }
        return { _ in await offEventLoop { response.value } }
    }
}

/// A value that is made when it is first asked for, so that a start does not wait for it.
private final class Deferred<Value: Sendable>: Sendable {
    private let made = Mutex<Value?>(nil)
    private let make: @Sendable () -> Value

    init(_ make: @escaping @Sendable () -> Value) { self.make = make }

    var value: Value {
        made.withLock { made in
            if let made { return made }
            let value = make()
            made = value
            return value
        }
    }
}

extension Endpoint {
    /// Stable, made of what cannot change: `patchChannelsById`.
    var operationID: String {
        let words = path.split(separator: "/").drop { $0 == "api" || $0 == "v1" }.flatMap { segment -> [String] in
            let isParameter = segment.hasPrefix("{")
            let words = segment.filter { $0 != "{" && $0 != "}" }.split { $0 == "-" || $0 == "_" || $0 == "." }
            return (isParameter ? ["by"] : []) + words.map(String.init)
        }
        return method.rawValue.lowercased() + words.map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }

    /// All path parameters in order: the declared ones, and ids.
    var allPathParameters: [Schema.Property] {
        Route.parameters(of: path).map { name in
            pathParameters.first { $0.name == name } ?? .required(name, .uuid, "The id.")
        }
    }

    /// A body that the endpoint accepts: the declared example, else one made from the schema.
    var bodyExample: JSON? {
        guard case .json(let schema, let example) = payload else { return nil }
        let sample = example ?? schema.sample
        return schema.validate(sample).isEmpty ? sample : nil
    }
}
