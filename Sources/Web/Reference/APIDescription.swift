import Crypto
import HTTPTypes
import Kernel
import NIOCore

/// The API in words, for programs (OpenAPI 3.1) and for people (`/docs`), made from the endpoints' declarations.
package struct APIDescription: Sendable {
    /// The OpenAPI document as JSON.
    package let openAPI: [UInt8]
    private let page: String

    package init(endpoints: [Endpoint], publicURL: String, version: String) {
        let listed = endpoints.filter(\.isListed)
        openAPI = OpenAPIDocument(endpoints: listed, publicURL: publicURL, version: version).json.bytes
        page = ReferencePage(endpoints: listed, publicURL: publicURL, version: version).html
    }

    /// Where the description is served.
    @EndpointBuilder var endpoints: [Endpoint] {
        Endpoint.public(
            .get,
            "/api/v1/openapi.json",
            "The API description",
            answers: [],
            listed: false,
            use: ready(ByteBuffer(bytes: openAPI), "application/json")
        )
        Endpoint.public(
            .get,
            "/docs",
            "The API reference",
            answers: [],
            listed: false,
            use: ready(ByteBuffer(string: page), "text/html; charset=utf-8")
        )
        Endpoint.public(
            .get,
            "/docs/style.css",
            "The reference's style sheet",
            answers: [],
            listed: false,
            use: ready(ByteBuffer(string: referenceStyle), "text/css; charset=utf-8")
        )
    }

    private func ready(_ bytes: ByteBuffer, _ contentType: String) -> @Sendable (PublicCall) async -> Reply {
        let hash = SHA256.hash(data: Array(bytes.readableBytesView)).prefix(12).map { String($0, radix: 36) }.joined()
        let reply = Reply.bytes(bytes, contentType: contentType).with(tag: EntityTag(hash: hash))
            .with(.cacheControl, "public, max-age=300")
        return { _ in reply }
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
